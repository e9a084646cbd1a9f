//! Client certificates as a service: an identity for clients that cannot log in. Each belongs to one credential and
//! dies with it.

use super::authority::{self, IssuedCertificate};
use super::change::Change;
use super::{Access, AccessError, Owner, Reach};
use crate::domain::{Certificate, Credential, Event, Fingerprint, Timestamp, Username};
use crate::store::Tx;
use crate::store::caches::certificates::AuthorityRecord;

/// Good certificates that one credential may have. Two are enough to replace one without a gap.
pub const CERTIFICATES_MAX: u32 = 5;

impl Access {
    /// Certificates of all credentials, the newest first. Expired ones stay listed for a month.
    pub async fn certificates(&self, owner: &Owner) -> Result<Vec<Certificate>, AccessError> {
        Ok(self.store.certificates(owner.cache()).await?)
    }

    /// Issues a certificate that stands for this credential. Its private key is in the answer and nowhere else.
    /// `after` is the newest certificate that the owner knows of: once there is a newer one this is without effect
    /// and gives `None`, so that asking twice issues one.
    pub async fn issue_certificate(
        &self,
        owner: &Owner,
        username: &Username,
        after: Option<Fingerprint>,
    ) -> Result<Option<(IssuedCertificate, Reach)>, AccessError> {
        let mut change = self.begin(owner).await?;
        let now = change.now;
        let credential = known(&mut change, username).await?;
        let tx = &mut change.tx;
        if tx.newest_certificate(credential.id).await? != after {
            return Ok(None);
        }
        if tx.count_certificates(credential.id, now).await? >= u64::from(CERTIFICATES_MAX) {
            return Err(AccessError::TooManyCertificates {
                max: CERTIFICATES_MAX,
            });
        }
        let authority = issuing_authority(tx, now).await?;
        let issued = authority::sign(&authority, username, now)?;
        let certificate = &issued.certificate;
        tx.insert_certificate(credential.id, certificate).await?;
        change
            .tell(Event::CertificateIssued {
                credential: username.clone(),
                certificate: certificate.fingerprint,
                expires_at: certificate.expires_at,
            })
            .await?;
        let detail = format!("{username} {}", certificate.fingerprint);
        change.audit("certificate.issue", detail).await?;
        let reach = self.carry_out(change).await?;
        Ok(Some((issued, reach)))
    }

    /// Ends one certificate: it is refused, and connections made with it are closed. The credential goes on. Asking
    /// twice is no error.
    pub async fn revoke_certificate(
        &self,
        owner: &Owner,
        username: &Username,
        fingerprint: Fingerprint,
    ) -> Result<Reach, AccessError> {
        let mut change = self.begin(owner).await?;
        let credential = known(&mut change, username).await?;
        let revoked = change.tx.remove_certificate(credential.id, fingerprint);
        if !revoked.await? {
            return self.reach_of_last_change(change).await;
        }
        change
            .tell(Event::CertificateRevoked {
                credential: username.clone(),
                certificate: fingerprint,
            })
            .await?;
        let detail = format!("{username} {fingerprint}");
        change.audit("certificate.revoke", detail).await?;
        self.carry_out(change).await
    }
}

async fn known(change: &mut Change, username: &Username) -> Result<Credential, AccessError> {
    let credential = change
        .tx
        .credential(change.resource.cache, username)
        .await?;
    credential.ok_or_else(|| AccessError::UnknownCredential(username.to_string()))
}

/// The newest CA, or the next one: the first when none was ever needed, another when the newest would end before
/// what it signs. Two processes that make one at the same time agree on whose came first.
async fn issuing_authority(tx: &mut Tx, now: Timestamp) -> Result<AuthorityRecord, AccessError> {
    let needed_until = authority::certificate_end(now);
    loop {
        let newest = tx.newest_authority().await?;
        let number = newest.as_ref().map_or(1, |newest| newest.number + 1);
        match newest {
            Some(newest) if newest.expires_at >= needed_until => return Ok(newest),
            _ => {}
        }
        let next = authority::establish(number, now)?;
        if tx.insert_authority(&next, now).await? {
            return Ok(next);
        }
    }
}
