//! Our own CAs, and the client certificates they issued. A certificate that is revoked, or whose credential goes,
//! loses its row: what has no row is refused.

use secrecy::{ExposeSecret as _, SecretSlice};

use crate::domain::{Authority, CacheId, Certificate, CredentialId, Fingerprint, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{number, parse, row};
use crate::store::db::seal::Place;
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// A CA as the store keeps it. The key is PKCS#8 DER.
#[derive(Debug)]
pub struct AuthorityRecord {
    /// Counts from 1.
    pub number: u32,
    pub certificate: Authority,
    pub key: SecretSlice<u8>,
    pub expires_at: Timestamp,
}

row! {
    struct CertificateRow {
        fingerprint: String,
        username: String,
        created_at: i64,
        expires_at: i64,
    }
}

impl CertificateRow {
    fn into_domain(self) -> Result<Certificate, StoreError> {
        Ok(Certificate {
            fingerprint: parse("certificates.fingerprint", &self.fingerprint)?,
            username: parse("credentials.username", &self.username)?,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
        })
    }
}

fn place(number: &str) -> Place<'_> {
    Place {
        table: "authorities",
        column: "key_sealed",
        row: number,
    }
}

impl Store {
    /// The certificates of all CAs, the oldest first.
    pub async fn authorities(&self) -> Result<Vec<Authority>, StoreError> {
        let rows: Vec<Vec<u8>> = read!(self, c => sqlx::query_scalar(
            "SELECT certificate FROM authorities ORDER BY number").fetch_all(c))?;
        Ok(rows.iter().map(|der| Authority::from_der(der)).collect())
    }

    /// Certificates of a cache's credentials, expired ones that are not tidied away yet among them; the newest first.
    pub async fn certificates(&self, cache: CacheId) -> Result<Vec<Certificate>, StoreError> {
        let rows: Vec<CertificateRow> = read!(self, c => sqlx::query_as(
            "SELECT f.fingerprint, k.username, f.created_at, f.expires_at FROM certificates f \
             JOIN credentials k ON k.id = f.credential_id WHERE k.cache_id = $1 \
             ORDER BY f.created_at DESC, f.fingerprint")
            .bind(cache.0).fetch_all(c))?;
        rows.into_iter().map(CertificateRow::into_domain).collect()
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules::apart("authorities"),
    TableRules::of_resource(
        "certificates",
        AtEnd::Run(&[
            "DELETE FROM certificates WHERE credential_id IN (SELECT id FROM credentials WHERE cache_id = $1)",
        ]),
    ),
];

impl Tx {
    /// The newest CA.
    pub async fn newest_authority(&mut self) -> Result<Option<AuthorityRecord>, StoreError> {
        let row: Option<(i64, Vec<u8>, Vec<u8>, i64)> = run!(self, c => sqlx::query_as(
            "SELECT number, certificate, key_sealed, expires_at FROM authorities ORDER BY number DESC LIMIT 1")
            .fetch_optional(c))?;
        row.map(|(at, certificate, sealed, expires_at)| {
            Ok(AuthorityRecord {
                number: number("authorities.number", at)?,
                certificate: Authority::from_der(&certificate),
                key: self.keys.open(place(&at.to_string()), &sealed)?,
                expires_at: Timestamp::from_micros(expires_at),
            })
        })
        .transpose()
    }

    /// Adds a CA; false when there is one of that number already.
    pub async fn insert_authority(
        &mut self,
        new: &AuthorityRecord,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = new.number.to_string();
        let sealed = self.keys.seal(place(&row), new.key.expose_secret())?;
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO authorities (number, certificate, key_sealed, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (number) DO NOTHING"
            )
            .bind(i64::from(new.number))
            .bind(new.certificate.der())
            .bind(&sealed)
            .bind(now.micros())
            .bind(new.expires_at.micros())
        )?;
        Ok(inserted == 1)
    }

    /// How many certificates of a credential are good at `now`.
    pub async fn count_certificates(
        &mut self,
        credential: CredentialId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let count: i64 = run!(self, c => sqlx::query_scalar(
            "SELECT count(*) FROM certificates WHERE credential_id = $1 AND expires_at > $2")
            .bind(credential.to_string()).bind(now.micros()).fetch_one(c))?;
        number("count of certificates", count)
    }

    /// The one issued last that is not revoked.
    pub async fn newest_certificate(
        &mut self,
        credential: CredentialId,
    ) -> Result<Option<Fingerprint>, StoreError> {
        let newest: Option<String> = run!(self, c => sqlx::query_scalar(
            "SELECT fingerprint FROM certificates WHERE credential_id = $1 \
             ORDER BY created_at DESC, fingerprint LIMIT 1")
            .bind(credential.to_string()).fetch_optional(c))?;
        newest
            .map(|text| parse("certificates.fingerprint", &text))
            .transpose()
    }

    pub async fn insert_certificate(
        &mut self,
        credential: CredentialId,
        certificate: &Certificate,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO certificates (fingerprint, credential_id, created_at, expires_at) VALUES ($1, $2, $3, $4)"
            )
            .bind(certificate.fingerprint.to_string())
            .bind(credential.to_string())
            .bind(certificate.created_at.micros())
            .bind(certificate.expires_at.micros())
        )?;
        Ok(())
    }

    /// Revokes one; false when this credential has none such.
    pub async fn remove_certificate(
        &mut self,
        credential: CredentialId,
        fingerprint: Fingerprint,
    ) -> Result<bool, StoreError> {
        let removed = exec!(
            self,
            sqlx::query("DELETE FROM certificates WHERE fingerprint = $1 AND credential_id = $2")
                .bind(fingerprint.to_string())
                .bind(credential.to_string())
        )?;
        Ok(removed == 1)
    }

    pub(in crate::store) async fn remove_certificates_of(
        &mut self,
        credential: CredentialId,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM certificates WHERE credential_id = $1")
                .bind(credential.to_string())
        )?;
        Ok(())
    }

    /// Drops the certificates that expired before a time.
    pub async fn prune_certificates(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM certificates WHERE expires_at < $1").bind(before.micros())
        )?)
    }
}
