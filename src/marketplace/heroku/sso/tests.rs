//! Vectors and boundaries of heroku.md §8.

use super::*;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const SALT: &str = "example-sso-salt-0001";
const AT: i64 = 1_795_372_200;
const USER: &str = "5ca1ab1e-0000-4000-8000-00000000c0de";
const EMAIL: &str = "dev@example.com";
const RESOURCE_TOKEN: &str = "0d43718a8e46aff106d8cd7ced4ebfbe442b52d8";
const USER_TOKEN: &str = "224d12ee9e62ddfa1c9bebdfd1ead832358079c6b654a19271e07e27d4cce714";

fn settings() -> SsoSettings {
    SsoSettings {
        salts: vec![SALT.to_owned().into()],
        previous_until: None,
        legacy: false,
    }
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(owned).collect()
}

fn visit<'a>(changes: &[(&'a str, Option<&'a str>)]) -> Vec<(String, String)> {
    let mut fields = vec![
        ("resource_id", UUID),
        ("resource_token", RESOURCE_TOKEN),
        ("user_scoped_resource_token", USER_TOKEN),
        ("timestamp", "1795372200"),
        ("user_id", USER),
        ("email", EMAIL),
        ("context_app", "shop-web"),
        ("nav-data", "ignored"),
    ];
    for (name, value) in changes {
        fields.retain(|(field, _)| field != name);
        fields.extend(value.map(|value| (*name, value)));
    }
    pairs(&fields)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(AT + secs)
}

#[test]
fn the_user_scoped_vector_proves_the_person() {
    let proof = verify(&settings(), &visit(&[]), at(0)).unwrap();
    assert_eq!(proof.external_id.as_str(), UUID);
    let person = proof.person.unwrap();
    assert_eq!(
        (person.user_id.as_str(), person.email.as_str()),
        (USER, EMAIL)
    );
    assert_eq!(proof.context_app.as_deref(), Some("shop-web"));
}

#[test]
fn the_resource_vector_proves_the_resource_only() {
    let weak = verify(
        &settings(),
        &visit(&[("user_scoped_resource_token", None)]),
        at(0),
    )
    .unwrap();
    assert_eq!(weak.person, None);
    let strong = verify(&settings(), &visit(&[]), at(0)).unwrap();
    assert_eq!(weak.weaker_digest, None);
    assert_eq!(
        strong.weaker_digest.as_ref(),
        Some(&weak.digest),
        "dropping the stronger token must not give a second login"
    );
}

#[test]
fn two_people_in_one_second_are_two_visits() {
    let other = "6ca1ab1e-0000-4000-8000-00000000c0de";
    let joined = format!("{UUID}:{SALT}:{AT}:{other}:{EMAIL}");
    let token = digest_hex(joined.as_bytes());
    let second = visit(&[
        ("user_id", Some(other)),
        ("user_scoped_resource_token", Some(&token)),
    ]);
    let second = verify(&settings(), &second, at(0)).unwrap();
    let first = verify(&settings(), &visit(&[]), at(0)).unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(first.weaker_digest, second.weaker_digest);
}

#[test]
fn a_wrong_stronger_token_does_not_fall_back() {
    let wrong = "0".repeat(64);
    for bad in [wrong.as_str(), "", RESOURCE_TOKEN] {
        let form = visit(&[("user_scoped_resource_token", Some(bad))]);
        assert_eq!(verify(&settings(), &form, at(0)), Err(Refused), "{bad:?}");
    }
}

#[test]
fn every_bound_field_counts() {
    for (name, value) in [
        ("resource_id", Some("11234567-89ab-cdef-0123-456789abcdef")),
        ("resource_id", None),
        ("timestamp", Some("1795372201")),
        ("timestamp", Some("01795372200")),
        ("timestamp", None),
        ("user_id", Some("6ca1ab1e-0000-4000-8000-00000000c0de")),
        ("user_id", None),
        ("email", Some("eve@example.com")),
        ("email", None),
    ] {
        let form = visit(&[(name, value)]);
        assert_eq!(
            verify(&settings(), &form, at(0)),
            Err(Refused),
            "{name}={value:?}"
        );
    }
}

#[test]
fn the_window_is_five_minutes_back_and_one_ahead() {
    for (age, accepted) in [
        (301, false),
        (300, true),
        (299, true),
        (-59, true),
        (-60, true),
        (-61, false),
        (3_600, false),
        (-3_600, false),
    ] {
        let answer = verify(&settings(), &visit(&[]), at(age));
        assert_eq!(answer.is_ok(), accepted, "{age} s old");
    }
}

#[test]
fn fields_have_a_grammar_and_stand_once() {
    for (name, value) in [
        ("timestamp", "1795372200 "),
        ("timestamp", "+1795372200"),
        ("timestamp", "1795372200\u{80}"),
        ("resource_id", "0123456789abcdef0123456789abcdef"),
        ("resource_id", "{01234567-89ab-cdef-0123-456789abcdef}"),
        ("email", "dev@example.com\u{80}\0evil@example.com"),
        ("email", "dev @example.com"),
    ] {
        let form = visit(&[(name, Some(value))]);
        assert_eq!(
            verify(&settings(), &form, at(0)),
            Err(Refused),
            "{name}={value:?}"
        );
    }
    let mut doubled = visit(&[]);
    doubled.push(("email".to_owned(), EMAIL.to_owned()));
    assert_eq!(verify(&settings(), &doubled, at(0)), Err(Refused));
}

/// A form with this id, and the token that belongs to exactly these bytes.
fn visit_to(id: &str) -> Vec<(String, String)> {
    let joined = format!("{id}:{SALT}:{AT}");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes());
    let (token, at) = (hex_lower(hash.as_ref()), AT.to_string());
    pairs(&[
        ("resource_id", id),
        ("resource_token", &token),
        ("timestamp", &at),
    ])
}

/// Capitals make no second resource, and no second login with one proof.
#[test]
fn an_id_in_capitals_names_the_same_resource() {
    let small = verify(&settings(), &visit_to(UUID), at(0)).unwrap();
    let capital = verify(&settings(), &visit_to(&UUID.to_uppercase()), at(0)).unwrap();
    assert_eq!(small.external_id.as_str(), UUID);
    assert_eq!(capital, small);
}

/// Whatever the token says: an id in another form could be one field stretched over another.
#[test]
fn a_right_token_for_an_id_of_another_form_proves_nothing() {
    assert!(verify(&settings(), &visit_to(UUID), at(0)).is_ok());
    let simple = UUID.replace('-', "");
    for id in [&simple, &format!("{{{UUID}}}"), &format!("urn:uuid:{UUID}")] {
        let answer = verify(&settings(), &visit_to(id), at(0));
        assert_eq!(answer, Err(Refused), "{id}");
    }
}

/// No token covers the app's name, so it only has to be fit to be shown.
#[test]
fn the_app_is_shown_and_refuses_nobody() {
    for (sent, shown) in [
        ("shop\nweb", Some("shopweb")),
        (" a b ", Some("a b")),
        ("é", Some("é")),
        ("", None),
        ("\0", None),
    ] {
        let proof = verify(&settings(), &visit(&[("context_app", Some(sent))]), at(0));
        assert_eq!(proof.unwrap().context_app.as_deref(), shown, "{sent:?}");
    }
    let long = "x".repeat(300);
    let proof = verify(&settings(), &visit(&[("context_app", Some(&long))]), at(0));
    assert_eq!(proof.unwrap().context_app.map(|app| app.len()), Some(254));
}

/// SHA-256 and SHA-1 padding of a message of this length, as a stretching attacker has to write it.
fn padding(length: usize) -> String {
    let mut bytes = vec![0x80];
    while (length + bytes.len()) % 64 != 56 {
        bytes.push(0);
    }
    bytes.extend_from_slice(&((length as u64) * 8).to_be_bytes());
    bytes.into_iter().map(char::from).collect()
}

#[test]
fn stretched_fields_never_pass_the_grammar() {
    for salt_length in 8..=128 {
        let joined = UUID.len() + 1 + salt_length + 1 + 10 + 1 + USER.len() + 1 + EMAIL.len();
        let email = format!("{EMAIL}{}x@evil.example", padding(joined));
        assert!(!is_plain(&email), "salt of {salt_length}");
        let joined = UUID.len() + 1 + salt_length + 1 + 10;
        assert!(!is_timestamp(&format!("1795372200{}9", padding(joined))));
    }
}

#[test]
fn the_previous_salt_is_taken_while_it_is_listed() {
    let both = SsoSettings {
        salts: vec!["new".to_owned().into(), SALT.to_owned().into()],
        previous_until: None,
        legacy: false,
    };
    assert!(verify(&both, &visit(&[]), at(0)).is_ok());
    let only_new = SsoSettings {
        salts: vec!["new".to_owned().into()],
        previous_until: None,
        legacy: false,
    };
    assert_eq!(verify(&only_new, &visit(&[]), at(0)), Err(Refused));
    let none = SsoSettings {
        salts: vec![],
        previous_until: None,
        legacy: true,
    };
    assert_eq!(verify(&none, &visit(&[]), at(0)), Err(Refused));
}

/// security.md SD-7.
#[test]
fn the_previous_salt_ends_at_its_time() {
    let both = SsoSettings {
        salts: vec!["new".to_owned().into(), SALT.to_owned().into()],
        previous_until: Some(at(10)),
        legacy: false,
    };
    assert!(verify(&both, &visit(&[]), at(9)).is_ok());
    for late in [10, 11, 200] {
        assert_eq!(verify(&both, &visit(&[]), at(late)), Err(Refused), "{late}");
    }
    let current = SsoSettings {
        salts: vec![SALT.to_owned().into(), "old".to_owned().into()],
        ..both
    };
    assert!(
        verify(&current, &visit(&[]), at(200)).is_ok(),
        "the current one goes on"
    );
}

#[test]
fn the_retired_form_needs_its_switch() {
    let published = |id| {
        pairs(&[
            ("id", id),
            (
                "token",
                if id == "123" {
                    "bb466eb1d6bc345d11072c3cd25c311f21be130d"
                } else {
                    "7659cc00fc08ff8b7bb76cd8c9762bcf528b4173"
                },
            ),
            ("timestamp", "1267597772"),
        ])
    };
    let now = Timestamp::from_secs(1_267_597_772);
    let mut settings = SsoSettings {
        salts: vec!["2f97bfa52ca102f8874716e2eb1d3b4920ad0be4".to_owned().into()],
        previous_until: None,
        legacy: true,
    };
    for id in ["123", UUID] {
        let proof = verify(&settings, &published(id), now).unwrap();
        assert_eq!((proof.external_id.as_str(), proof.person), (id, None));
    }
    settings.legacy = false;
    assert_eq!(verify(&settings, &published("123"), now), Err(Refused));
    let mine = pairs(&[
        ("id", "123"),
        ("token", "6015d86b1da792189a072f1ddc28dbc148f7aebb"),
        ("timestamp", "1795372200"),
    ]);
    let legacy = SsoSettings {
        legacy: true,
        ..super::tests::settings()
    };
    assert!(verify(&legacy, &mine, at(0)).is_ok());
}
