//! The whole room through its public routes: real store, real access, a node that plays its part, and browsers that
//! keep cookies and send the forms they were shown.

mod acting;
mod browser;
mod failing;
mod fixture;
mod guarding;
mod visiting;
