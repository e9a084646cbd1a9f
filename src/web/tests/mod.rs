//! The whole room through its front door: real store, real access, a node that plays its part, and browsers that
//! keep cookies and send the forms they were shown.

mod acting;
mod answering;
mod browser;
mod guarding;
mod house;
mod visiting;
mod waiting;
