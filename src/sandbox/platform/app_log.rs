//! The logs of apps: numbered lines in a bounded ring, and the inputs through which add-ons write to them.

use uuid::Uuid;

use crate::sandbox::platform::change::Around;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::log_line::LogLine;
use crate::sandbox::platform::market::Market;
use crate::sandbox::platform::refusal::NotPossible;

impl Market {
    /// A line of the platform itself.
    pub(in crate::sandbox) fn platform_line(
        &mut self,
        app: AppId,
        process: &str,
        text: String,
        around: Around<'_>,
    ) {
        let line = LogLine {
            seq: 0,
            at: around.now,
            source: "heroku".to_owned(),
            process: process.to_owned(),
            text,
            addon: None,
        };
        self.log(app, line, around.log_lines);
    }

    /// Appends a line, giving it its number; the oldest falls out of a full log.
    pub(in crate::sandbox) fn log(&mut self, app: AppId, mut line: LogLine, capacity: usize) {
        let Some(app) = self.apps.get_mut(&app) else {
            return;
        };
        self.next_line += 1;
        line.seq = self.next_line;
        app.log.push_back(line);
        while app.log.len() > capacity {
            app.log.pop_front();
        }
    }

    /// Gives each app that has a log input another one in its place. Whoever writes to the old ones is told 401, and
    /// finds the new ones in the list of attachments.
    pub(in crate::sandbox) fn renew_log_inputs(&mut self, id: AddonId) -> Result<(), NotPossible> {
        for attachment in &mut self.live_addon(id)?.attachments {
            attachment.log_token = attachment.log_token.map(|_| Uuid::new_v4());
        }
        Ok(())
    }

    /// The add-on and app behind a log input's token.
    pub(in crate::sandbox) fn log_input(&self, token: Uuid) -> Option<(AddonId, AppId)> {
        self.addons().into_iter().find_map(|addon| {
            let attachment = addon
                .attachments
                .iter()
                .find(|attachment| attachment.log_token == Some(token))?;
            Some((addon.id, attachment.app))
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn logs_are_bounded_and_numbered() {
        let around = || Around {
            now: Timestamp::UNIX_EPOCH,
            prefix: "MEMCACHIER",
            log_lines: 3,
            no_process: true,
        };
        let mut market = Market::default();
        let shop = market.create_app("shop", around()).unwrap();
        for number in 0..5 {
            market.platform_line(shop, "api", number.to_string(), around());
        }
        let log = &market.app(shop).unwrap().log;
        let kept: Vec<_> = log
            .iter()
            .map(|line| (line.seq, line.text.as_str()))
            .collect();
        assert_eq!(kept, [(3, "2"), (4, "3"), (5, "4")]);
    }
}
