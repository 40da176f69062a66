//! Text as HTML.

use sha2::{Digest, Sha256};

/// Appends to a string, without the results of `write!`.
pub trait Html {
    /// Appends HTML.
    fn put(&mut self, html: &str) -> &mut Self;
}

impl Html for String {
    fn put(&mut self, html: &str) -> &mut Self {
        self.push_str(html);
        self
    }
}

/// Escapes a string for HTML text or a quoted attribute; control characters are made visible.
pub fn text(s: &str) -> String {
    let shown = crate::error::escaped(s);
    let mut out = String::with_capacity(shown.len() + 16);
    for c in shown.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The hash of a script or style as in a content security policy (base64).
pub fn sha256(content: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = Sha256::digest(content.as_bytes());
    let mut out = String::new();
    for three in hash.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= three.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_markup() {
        assert_eq!(
            text("</script><b a=\"x\" b='y'>&amp;"),
            "&lt;/script&gt;&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;"
        );
        assert!(!text("\u{1b}[31m").contains('\u{1b}'));
    }

    /// `printf abc | openssl dgst -sha256 -binary | base64`
    #[test]
    fn the_hash_is_base64() {
        assert_eq!(sha256("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
