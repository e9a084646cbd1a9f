//! Names on the platform: which are allowed, which are free, and which are made up.

use aws_lc_rs::rand;

use crate::sandbox::platform::refusal::NotPossible;

/// The platform's pattern for names of apps and resources.
pub(in crate::sandbox) fn check_name(name: &str) -> Result<(), NotPossible> {
    let letter_first = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match letter_first && (2..=64).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(NotPossible::BadName),
    }
}

/// Attachment names become names of variables.
fn check_attachment_name(name: &str) -> Result<(), NotPossible> {
    let letter_first = name.starts_with(|first: char| first.is_ascii_uppercase());
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    match letter_first && name.len() <= 64 && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(NotPossible::BadName),
    }
}

/// How the platform tells a second add-on of an app from the first.
const COLOURS: [&str; 6] = ["TEAL", "COBALT", "AMBER", "OLIVE", "COPPER", "VIOLET"];

/// The name under which an app gets an attachment: the wanted one, or the first that is not taken.
pub(in crate::sandbox) fn attachment_name(
    wanted: Option<String>,
    taken: &[&str],
    prefix: &str,
) -> Result<String, NotPossible> {
    if let Some(wanted) = wanted {
        return match taken.contains(&wanted.as_str()) {
            true => Err(NotPossible::AttachmentTaken),
            false => check_attachment_name(&wanted).map(|()| wanted),
        };
    }
    let coloured = COLOURS.iter().map(|colour| format!("{prefix}_{colour}"));
    let numbered = (2..).map(|number| format!("{prefix}_{number}"));
    std::iter::once(prefix.to_owned())
        .chain(coloured)
        .chain(numbered)
        .find(|name| !taken.contains(&name.as_str()))
        .ok_or(NotPossible::AttachmentTaken)
}

/// As in `larder-rugged-04131`: readable, and as good as unique.
pub(in crate::sandbox) fn made_up_name(slug: &str) -> String {
    const WORDS: [&str; 12] = [
        "rugged", "tidy", "cool", "fresh", "crisp", "stocked", "shelved", "sealed", "plain",
        "quiet", "spare", "handy",
    ];
    let mut bytes = [0; 4];
    // Without randomness the name is plain but still valid; a second one would be refused as taken.
    let _filled = rand::fill(&mut bytes);
    let number = u32::from_le_bytes(bytes);
    let word = WORDS[number as usize % WORDS.len()];
    format!("{slug}-{word}-{:05}", number / 16 % 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_platforms_pattern() {
        assert_eq!(check_name("shop_2-x"), Ok(()));
        for bad in ["", "a", "1shop", "sh op", "shöp", "<b>", &"a".repeat(65)] {
            assert_eq!(check_name(bad), Err(NotPossible::BadName), "{bad}");
        }
        assert_eq!(check_name(&made_up_name("larder")), Ok(()));
    }

    #[test]
    fn attachments_take_the_wanted_or_the_first_free_name() {
        let name = |wanted: Option<&str>, taken: &[&str]| {
            attachment_name(wanted.map(str::to_owned), taken, "MEMCACHIER")
        };
        assert_eq!(name(None, &[]).as_deref(), Ok("MEMCACHIER"));
        assert_eq!(
            name(None, &["MEMCACHIER"]).as_deref(),
            Ok("MEMCACHIER_TEAL")
        );
        let mut all = vec!["MEMCACHIER".to_owned()];
        all.extend(COLOURS.map(|colour| format!("MEMCACHIER_{colour}")));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(name(None, &all).as_deref(), Ok("MEMCACHIER_2"));
        assert_eq!(name(Some("PRIMARY"), &[]).as_deref(), Ok("PRIMARY"));
        let taken = name(Some("PRIMARY"), &["PRIMARY"]);
        assert_eq!(taken, Err(NotPossible::AttachmentTaken));
        assert_eq!(name(Some("lower"), &[]), Err(NotPossible::BadName));
    }
}
