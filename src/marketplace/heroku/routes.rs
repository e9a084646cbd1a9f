//! The calls Heroku makes.
