//! Which figures of caches go with a report: a few caches are looked at in each second, one pass after the other.

use std::collections::{HashMap, VecDeque};

use super::NodeAgent;
use crate::cluster::link::wire::{Figures, Report};
use crate::domain::CacheId;

/// A pass begins no sooner than so many ticks after the one before: whoever looks at a dashboard sees a change within
/// that time, and a busy cache costs the control plane no more than one row in it.
const PASS_TICKS: u64 = 10;
/// The first pass begins so many ticks after the start.
const FIRST_TICK: u64 = 1;
/// Figures that do not change are told again after so many ticks, in case the control plane has lost them. Until then they
/// are in force there as long as the node is heard of, so that idle caches cost nothing.
const REPEAT_TICKS: u64 = 3_600;
/// Caches looked at in one tick: a pass over ten thousand takes no longer than the time between two passes.
const LOOKED_AT_ONCE: usize = 1_000;
/// Caches told of in one report.
const TOLD_AT_ONCE: usize = 250;
/// Counters and connections in one report, at most: about a megabyte of the four that it may have.
const ENTRIES_MAX: usize = 10_000;

/// Where the passes over the caches are.
#[derive(Default)]
pub(super) struct FiguresPass {
    tick: u64,
    /// When the latest pass began.
    begun: Option<u64>,
    /// Caches that the pass has still to come to.
    waiting: VecDeque<CacheId>,
    /// What was told last of each cache, and at which tick.
    told: HashMap<CacheId, (Figures, u64)>,
}

impl FiguresPass {
    fn is_due(&self) -> bool {
        let next = self.begun.map_or(FIRST_TICK, |begun| begun + PASS_TICKS);
        self.waiting.is_empty() && self.tick >= next
    }

    fn is_news(&self, cache: CacheId, figures: &Figures) -> bool {
        let told = self.told.get(&cache);
        told.is_none_or(|(told, tick)| told != figures || self.tick - tick >= REPEAT_TICKS)
    }
}

impl NodeAgent {
    /// The figures to report at this tick. Call it once a tick.
    pub(super) fn next_figures(&self, pass: &mut FiguresPass) -> Vec<Figures> {
        let mut next = Vec::new();
        if !self.link.takes_figures() {
            return next;
        }
        if pass.is_due() {
            let held = self.held.lock();
            pass.told.retain(|cache, _| held.contains(cache));
            pass.waiting.extend(held.iter());
            pass.begun = Some(pass.tick);
        }
        let mut entries = 0;
        for _ in 0..LOOKED_AT_ONCE {
            let Some(cache) = pass.waiting.pop_front() else {
                break;
            };
            let Some(figures) = self.figures_of(cache) else {
                pass.told.remove(&cache);
                continue;
            };
            if pass.is_news(cache, &figures) {
                entries += figures.entries();
                pass.told.insert(cache, (figures.clone(), pass.tick));
                next.push(figures);
            }
            if entries >= ENTRIES_MAX || next.len() >= TOLD_AT_ONCE {
                break;
            }
        }
        pass.tick += 1;
        next
    }

    /// Brings the figures of a report up to date that must be repeated. The control plane takes them as those of the
    /// moment in which they arrive.
    pub(super) fn renew_figures(&self, report: &mut Report) {
        let told = std::mem::take(&mut report.figures).into_iter();
        let now = told.filter_map(|figures| self.figures_of(CacheId(figures.cache)));
        report.figures = now.collect();
    }

    fn figures_of(&self, cache: CacheId) -> Option<Figures> {
        Some(Figures::new(cache, self.plane.figures(cache)?))
    }
}
