//! The wire contract of a Heroku-like marketplace, in both directions.
//!
//! | file | holds |
//! |---|---|
//! | `calls`, `resources`, `sso` | what the marketplace asks of the provider |
//! | `oauth`, `platform_api`, `objects`, `paging`, `logplex`, `webhooks` | what the provider asks of the marketplace |
//! | `basic`, `caller`, `api_error` | who calls, and how it is refused |
//! | `fault_layer` | what goes wrong on purpose |

pub(in crate::sandbox) mod api_error;
pub(in crate::sandbox) mod basic;
pub(in crate::sandbox) mod caller;
pub(in crate::sandbox) mod calls;
pub(in crate::sandbox) mod fault_layer;
pub(in crate::sandbox) mod logplex;
pub(in crate::sandbox) mod oauth;
pub(in crate::sandbox) mod objects;
pub(in crate::sandbox) mod paging;
pub(in crate::sandbox) mod platform_api;
pub(in crate::sandbox) mod resources;
pub(in crate::sandbox) mod sso;
pub(in crate::sandbox) mod webhooks;
