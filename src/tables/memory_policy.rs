//! NUMA memory policies: names of config-linux.md "Memory policy", numbers of `linux/mempolicy.h`.

/// Modes of set_mempolicy(2): (name, number, whether the mode requires nodes; `None`: optional).
pub const MODES: [(&str, i32, Option<bool>); 7] = [
    ("MPOL_DEFAULT", 0, Some(false)),
    ("MPOL_PREFERRED", 1, None),
    ("MPOL_BIND", 2, Some(true)),
    ("MPOL_INTERLEAVE", 3, Some(true)),
    ("MPOL_LOCAL", 4, Some(false)),
    ("MPOL_PREFERRED_MANY", 5, Some(true)),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Some(true)),
];

/// Flags of set_mempolicy(2), combined with the mode by bitwise or.
pub const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];
