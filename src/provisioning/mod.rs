//! Rank 2: provision, change plan, deprovision.
