//! `#[case(NEED, ...)]` declares an integration test: one attribute on its function.
//!
//! ```ignore
//! /// A created container waits for `start`.
//! #[case(Root, Oci)]
//! fn a_created_container_waits() { ... }
//!
//! #[case(WORLD)]      // const WORLD: &[Need]
//! fn allowed_names_are_reached() { ... }
//! ```
//!
//! The test is called `area::function`, where the area is the second module below the crate
//! (`integration::oci::kills::eight_creates_of_one_id` is `kills::eight_creates_of_one_id`). Its needs are
//! variants of `harness::Need`, or one constant. The function returns nothing or a `libtest_mimic::Completion`.

use proc_macro::{TokenStream, TokenTree};

/// Registers the function below as a test of `harness::all`.
#[proc_macro_attribute]
pub fn case(needs: TokenStream, function: TokenStream) -> TokenStream {
    let Some(name) = name_of(function.clone()) else {
        return "compile_error!(\"#[case] declares a function\");".parse().expect("tokens");
    };
    let needs = if needs.is_empty() {
        "&[]".to_string()
    } else if is_constant(needs.clone()) {
        needs.to_string()
    } else {
        format!("{{ use crate::harness::Need::*; &[{needs}] }}")
    };
    let registered = format!(
        "::inventory::submit! {{ crate::harness::Case {{
            path: ::core::concat!(::core::module_path!(), \"::{name}\"),
            line: ::core::line!(),
            needs: {needs},
            body: || crate::harness::Ending::completion({name}()),
        }} }}"
    );
    let registered: TokenStream = registered.parse().expect("tokens");
    [function, registered].into_iter().collect()
}

/// The identifier behind the keyword `fn`.
fn name_of(function: TokenStream) -> Option<String> {
    let mut tokens = function.into_iter();
    tokens.find(|t| matches!(t, TokenTree::Ident(i) if i.to_string() == "fn"))?;
    tokens.next().map(|t| t.to_string())
}

/// Whether the needs are the path of a constant: its last name is in capitals.
fn is_constant(needs: TokenStream) -> bool {
    let names = needs.into_iter().filter_map(|t| match t {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    });
    names.last().is_some_and(|name| name.chars().all(|c| !c.is_lowercase()))
}
