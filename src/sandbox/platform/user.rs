//! People on the platform.

/// A person on the platform. The default one owns every app of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub email: String,
}

impl Default for User {
    fn default() -> User {
        User {
            id: "5ca1ab1e-0000-4000-8000-00000000c0de".to_owned(),
            email: "dev@example.com".to_owned(),
        }
    }
}
