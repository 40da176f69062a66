//! `explain --html`: one self-contained file. `scripts/page` tests it in a browser.

use serde_json::json;

use crate::harness::{Sandbox, case};

fn page(sb: &Sandbox, flags: &[&str]) -> String {
    let file = sb.dir().join("page.html");
    sb.runtime().arg("explain").args(flags).arg("--html").arg(&file).arg(sb.bundle()).output().ok();
    std::fs::read_to_string(file).expect("the page")
}

#[case]
fn a_plan_is_one_small_file() {
    let sb = Sandbox::new();
    let html = page(&sb, &[]);
    assert!(html.len() < 300 << 10, "{} bytes", html.len());
    // Links to sources are only addresses; nothing is fetched.
    for fetches in [" src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "<iframe"] {
        assert!(!html.contains(fetches), "{fetches}");
    }
    for id in ["row:pivot", "row:seccomp", "row:exec", "row:mount:/proc"] {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let rows = html.matches("<li class=\"row ").count();
    let text = sb.runtime().arg("explain").arg(sb.bundle()).output().ok().stdout;
    let printed =
        text.lines().filter(|l| l.get(..4).is_some_and(|n| n.trim().parse::<u32>().is_ok())).count();
    assert_eq!(rows, printed);
}

#[case]
fn two_policies_stand_side_by_side() {
    let html = page(&Sandbox::new(), &["--diff-policy", "baseline", "restricted"]);
    assert!(html.contains("only in restricted") && html.contains("not in baseline"));
}

/// A hostile config has the same number of tags as a harmless one: every `<` in it is escaped.
#[case]
fn nothing_of_a_config_is_markup() {
    let tags = |word: &str| {
        let sb = Sandbox::new().args(["/bin/true", word]).patch("/process/env/-", json!(format!("A={word}")));
        let mount = json!({ "destination": format!("/{word}"), "type": "tmpfs", "source": word });
        let html = page(&sb.patch("/mounts/-", mount), &["--policy", "privileged"]);
        (html.matches('<').count(), html.matches('"').count(), html.contains("alert(1)"))
    };
    let (plain, hostile) = (tags("word"), tags("</script><script>alert(1)//\" onload='x"));
    assert_eq!((plain.0, plain.1), (hostile.0, hostile.1));
    assert!(hostile.2);
}

#[case]
fn a_file_that_cannot_be_written_is_named() {
    let sb = Sandbox::new();
    let file = sb.dir().join("none/page.html");
    let out = sb.runtime().arg("explain").arg("--html").arg(&file).arg(sb.bundle()).output();
    out.exits(125).says("--html ").says("none/page.html: no such file or directory");
}
