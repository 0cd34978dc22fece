//! What a text from outside must not have in it where a person reads it on a terminal.

/// Whether a terminal would not show `c` but obey it, or show it as nothing: control characters, those that turn the direction of a
/// text or join and hide others, and separators of lines.
pub(crate) fn is_unsafe(c: char) -> bool {
    let turns_or_hides = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || turns_or_hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_draws_turns_or_hides_is_unsafe_and_letters_of_every_script_are_not() {
        for c in ['\n', '\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{2028}', '\u{feff}', '\u{e0041}'] {
            assert!(is_unsafe(c), "{c:?}");
        }
        for c in ['a', ' ', '\u{e9}', '\u{5d0}', '\u{627}', '\u{4e2d}', '\u{301}', '\u{1f600}'] {
            assert!(!is_unsafe(c), "{c:?}");
        }
    }
}
