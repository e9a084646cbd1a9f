//! What a tenant may still take while it is far above a limit that was lowered.

use super::*;

/// It frees first what an upload takes.
#[test]
fn an_upload_into_a_lowered_cache_frees_as_much_as_it_takes() {
    let fixture = StorageFixture::new();
    let tenant = fixture.tenant(32 * MIB);
    for n in 0..80_000_u32 {
        set(&tenant, &n.to_be_bytes(), &[1; 400]);
    }
    tenant.set_limit(8 * MIB);
    for _ in 0..3 {
        let before = tenant.used_bytes();
        assert!(before > 16 * MIB, "or this test shows nothing");
        let upload = tenant.reserve(1_000_000).unwrap();
        let during = tenant.used_bytes();
        assert!(during <= before, "{during} after {before}");
        drop(upload);
    }
}
