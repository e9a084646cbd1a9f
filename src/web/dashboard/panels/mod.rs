//! The panels, in the order of the page.

pub mod connections;
pub mod counters;
pub mod credentials;
pub mod events;
pub mod hit_rate;
pub mod rotation;
pub mod settings;
pub mod storage;

use super::panel::{Entry, Row};

/// The page from top to bottom.
pub const ROWS: &[Row] = &[
    Row {
        class: Some("figures"),
        panels: &[
            Entry::of::<storage::StoragePanel>(),
            Entry::of::<hit_rate::HitRatePanel>(),
            Entry::of::<connections::ConnectionsPanel>(),
        ],
    },
    Row {
        class: None,
        panels: &[
            Entry::of::<credentials::CredentialsPanel>(),
            Entry::of::<rotation::RotationPanel>(),
        ],
    },
    Row {
        class: Some("pair"),
        panels: &[
            Entry::of::<events::EventsPanel>(),
            Entry::of::<counters::CountersPanel>(),
        ],
    },
    Row {
        class: None,
        panels: &[Entry::of::<settings::SettingsPanel>()],
    },
];

/// All of them, without the rows.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    ROWS.iter().flat_map(|row| row.panels)
}
