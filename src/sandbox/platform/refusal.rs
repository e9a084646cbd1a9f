//! Why the platform refuses what a customer or the provider asks for.

/// A request that the state of the platform does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    #[error("no such app")]
    NoSuchApp,
    #[error("no such add-on")]
    NoSuchAddon,
    #[error("an app of this name exists")]
    NameTaken,
    #[error("names begin with a letter and hold letters, digits, dashes and underscores")]
    BadName,
    #[error("this app has an attachment of that name")]
    AttachmentTaken,
    #[error("the owning app cannot be detached, remove the add-on instead")]
    OwnerStays,
    #[error("the add-on is not in a state that allows this")]
    WrongState,
}
