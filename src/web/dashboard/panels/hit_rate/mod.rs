//! *Hit rate*: how much of what is asked for is there.

use askama::Template;

use crate::cluster::CacheFigures;
use crate::format;
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::Tone;
use crate::web::error::PageError;

#[derive(Template)]
#[template(path = "dashboard/panels/hit_rate/panel.html")]
pub struct HitRatePanel {
    tone: Tone,
    /// `93.4 %` or `Unavailable`.
    figure: String,
    label: &'static str,
    detail: String,
    percent: u64,
}

impl Panel for HitRatePanel {
    const ID: &'static str = "hit-rate";
    const TITLE: &'static str = "Hit rate";

    async fn load(page: &PageContext) -> Result<HitRatePanel, PageError> {
        Ok(HitRatePanel::new(page.figures_or_why().await))
    }
}

impl HitRatePanel {
    /// Thresholds: product reference, section 6.
    pub fn new(figures: Result<&CacheFigures, String>) -> HitRatePanel {
        let counted = figures.as_ref();
        let (hits, misses) =
            counted.map_or((0, 0), |figures| (figures.get_hits, figures.get_misses));
        let asked = u128::from(hits) + u128::from(misses);
        if asked == 0 {
            let detail = match figures {
                Ok(_) => "Nothing has been read yet".to_owned(),
                Err(why) => why,
            };
            return HitRatePanel {
                tone: Tone::Plain,
                figure: "Unavailable".to_owned(),
                label: "No data",
                detail,
                percent: 0,
            };
        }
        // Rounded down, so that the figure never claims a threshold that was not reached.
        let thousandths = u128::from(hits) * 1_000 / asked;
        let (tone, label) = match thousandths {
            800.. => (Tone::Good, "Good"),
            500..800 => (Tone::Fair, "Fair"),
            _ => (Tone::Bad, "Low"),
        };
        HitRatePanel {
            tone,
            figure: format!("{}.{} %", thousandths / 10, thousandths % 10),
            label,
            detail: format!(
                "{}, {}",
                format::counted(hits, "hit", "hits"),
                format::counted(misses, "miss", "misses")
            ),
            percent: u64::try_from(thousandths / 10).unwrap_or(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_rate_never_claims_a_threshold_it_missed() {
        for (hits, misses, figure, tone) in [
            (0, 0, "Unavailable", "plain"),
            (80, 20, "80.0 %", "good"),
            (79_999, 20_001, "79.9 %", "fair"),
            (1, 1, "50.0 %", "fair"),
            (49_999, 50_001, "49.9 %", "bad"),
            (0, 9, "0.0 %", "bad"),
        ] {
            let figures = CacheFigures {
                get_hits: hits,
                get_misses: misses,
                ..CacheFigures::default()
            };
            let panel = HitRatePanel::new(Ok(&figures)).render().unwrap();
            let expected = format!("<p class=\"big {tone}\">{figure}</p>");
            assert!(panel.contains(&expected), "{hits}/{misses}: {expected}");
        }
    }
}
