use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::domain::{Capabilities, CertificateSpec, CredentialSpec, Fingerprint};

const AT: Timestamp = Timestamp::from_secs(1_795_372_200);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn snapshot() -> Snapshot {
    let key = VerifierKey::from_bytes(&[7; 32]);
    let credential = CredentialSpec {
        username: "4F2A90".parse().unwrap(),
        verifier: key.verifier(b"4F2A90", b"secret"),
        capabilities: Capabilities::WRITE,
        certificates: vec![CertificateSpec {
            fingerprint: Fingerprint::of(b"a certificate"),
            expires_at: AT,
        }],
    };
    let spec = CacheSpec {
        cache: CacheId(3),
        label: "4F2A90".to_owned(),
        limit_bytes: 25 << 20,
        connections_max: 50,
        credentials: vec![credential],
        flush_orders: Vec::new(),
    };
    Snapshot {
        node: "node_a".parse().unwrap(),
        home: "m:1:2".to_owned(),
        plans: 5,
        revision: Revision(9),
        taken_at: AT,
        verifier_key: key,
        caches: BTreeMap::from([(spec.cache, spec)]),
        authorities: vec![Authority::from_der(b"a CA")],
        usernames: BTreeSet::from(["B0B000".parse().unwrap()]),
    }
}

fn text(snapshot: &Snapshot) -> String {
    serde_json::to_string(&Content::from(snapshot)).unwrap()
}

fn written(folder: &TempDir) -> SnapshotFile {
    let file = SnapshotFile::open(folder.path()).unwrap();
    file.write(&Content::from(&snapshot())).unwrap();
    file
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_written_is_read_by_the_next_process_and_by_nobody_else() {
    let folder = folder();
    assert!(
        SnapshotFile::open(folder.path())
            .unwrap()
            .read()
            .unwrap()
            .is_none()
    );
    drop(written(&folder));
    let (key, sealed) = ("snapshot.key", "snapshot.sealed");
    for name in [key, sealed] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    let next = SnapshotFile::open(folder.path()).unwrap();
    let read = next.read().unwrap().expect("a snapshot");
    assert_eq!(text(&read), text(&snapshot()));

    let other = self::folder();
    let other_file = SnapshotFile::open(other.path()).unwrap();
    std::fs::copy(folder.path().join(sealed), other.path().join(sealed)).unwrap();
    let refused = other_file.read().unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Damaged { .. }),
        "{refused}"
    );
    next.remove().unwrap();
    assert!(next.read().unwrap().is_none());
    next.remove().unwrap();
}

#[test]
fn a_file_that_was_changed_or_cut_is_refused_whole() {
    let folder = folder();
    let file = written(&folder);
    let good = std::fs::read(&file.path).unwrap();
    let is_refused = |bytes: &[u8]| {
        std::fs::write(&file.path, bytes).unwrap();
        matches!(file.read(), Err(SnapshotError::Damaged { .. }))
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(is_refused(&bad), "byte {at} flipped");
        assert!(is_refused(&good[..at]), "cut to {at} bytes");
    }
    assert!(!is_refused(&good));
}

/// Sealed under the right key, but not by this release.
#[test]
fn a_content_that_this_release_does_not_know_is_refused() {
    let folder = folder();
    let file = SnapshotFile::open(folder.path()).unwrap();
    let newer_format = Content {
        format: FORMAT + 1,
        ..Content::from(&snapshot())
    };
    let mut bad_name = Content::from(&snapshot());
    bad_name.usernames.push("nobody".to_owned());
    for content in [newer_format, bad_name] {
        file.write(&content).unwrap();
        let refused = file.read().unwrap_err();
        assert!(
            matches!(refused, SnapshotError::Unreadable { .. }),
            "{refused}"
        );
    }
}

/// An older release may have left out what this one needs to know of a cache.
#[test]
fn after_an_upgrade_the_node_asks_for_everything() {
    let folder = folder();
    let file = SnapshotFile::open(folder.path()).unwrap();
    let older = Content {
        release: "0.0.0".to_owned(),
        ..Content::from(&snapshot())
    };
    file.write(&older).unwrap();
    let read = file.read().unwrap().expect("a snapshot");
    assert_eq!((read.revision, read.caches.len()), (Revision(0), 1));
}

#[test]
fn a_key_that_others_can_read_and_one_that_is_none_are_refused() {
    let folder = folder();
    drop(written(&folder));
    let path = folder.path().join("snapshot.key");
    let readable = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&path, readable).unwrap();
    let refused = SnapshotFile::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");

    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    std::fs::write(&path, b"short").unwrap();
    let refused = SnapshotFile::open(folder.path()).unwrap_err();
    assert!(matches!(refused, SnapshotError::BadKey { .. }), "{refused}");
}

#[test]
fn a_crash_while_it_was_written_leaves_no_open_file() {
    let folder = folder();
    let beside = folder.path().join("snapshot.new");
    std::fs::write(&beside, b"half").unwrap();
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&beside, readable).unwrap();
    let file = written(&folder);
    assert!(!beside.exists());
    assert_eq!(mode(&file.path), 0o600);
}

#[test]
fn nothing_secret_shows_itself() {
    let folder = folder();
    let file = written(&folder);
    let snapshot = snapshot();
    let shown = format!("{snapshot:?} {file:?}");
    let spec = wire::CacheSpec::from(&snapshot.caches[&CacheId(3)]);
    let verifier = &spec.credentials[0].verifier;
    let key = WireSecret::of_bytes(snapshot.verifier_key.expose_bytes());
    assert!(!shown.contains(verifier) && !shown.contains(key.expose()));
    let bytes = snapshot.caches[&CacheId(3)].credentials[0]
        .verifier
        .as_bytes();
    assert!(!shown.contains(&format!("{bytes:?}")));

    let sealed = std::fs::read(&file.path).unwrap();
    let holds = |part: &[u8]| sealed.windows(part.len()).any(|window| window == part);
    assert!(!holds(verifier.as_bytes()) && !holds(bytes) && !holds(b"4F2A90"));
}
