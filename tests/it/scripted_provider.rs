//! A provider that is told how to behave.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::domain::{Abilities, BoxFuture, ConfigValues, ExternalId, Timestamp};
use larder::http::{CallError, CallErrorKind};
use larder::outbox::ports::{
    AttachedApp, Completion, ConfigPush, Inventory, LogLine, LogSink, Provider, ProviderState,
    ResourceNow, ResourceReader, Token, TokenIssuer, Tokens, Webhooks,
};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Notify, Semaphore};

/// One call that the provider was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Push { token: String, username: String },
    Exchange,
    FreshCode,
    Refresh(String),
    Attachments,
    Resource,
    Finish,
    GiveUp,
    Subscribe,
    Installs,
    Log { url: String, lines: Vec<String> },
}

/// A provider that answers what the script says, and gives what is asked for once the script is at its end.
pub struct Scripted {
    /// What it can do; everything at first.
    pub abilities: Mutex<Abilities>,
    pub calls: Mutex<Vec<Call>>,
    pub script: Mutex<VecDeque<Option<CallErrorKind>>>,
    pub apps: Mutex<Vec<AttachedApp>>,
    /// The list of installs.
    pub installs: Mutex<Vec<ExternalId>>,
    /// What the resource is called.
    pub name: Mutex<String>,
    pub state: Mutex<ProviderState>,
    issued: Mutex<u32>,
    /// While shut, pushes wait here after they were noted as called,
    held: Mutex<Option<Arc<Semaphore>>>,
    /// or here after they took effect.
    held_after: Mutex<Option<Arc<Semaphore>>>,
    held_finish: Mutex<Option<Arc<Semaphore>>>,
    held_exchange: Mutex<Option<Arc<Semaphore>>>,
    held_list: Mutex<Option<Arc<Semaphore>>>,
    /// A log input, and where lines to it wait after they were noted as called.
    held_log: Mutex<Option<(String, Arc<Semaphore>)>>,
    refuses_finish: AtomicBool,
    fails_give_up: Mutex<Option<CallErrorKind>>,
    noted: Notify,
    refuses_tokens: AtomicBool,
    fails_pushes: Mutex<Option<String>>,
    refuses_logs: AtomicBool,
    loses_answers: AtomicBool,
    gives_codes: AtomicBool,
    gives_no_refresh: AtomicBool,
    /// Pushes in the order in which they took effect.
    pub effects: Mutex<Vec<String>>,
    /// SERVERS of each push that took effect.
    pub servers: Mutex<Vec<String>>,
    /// The time that each line sent speaks of.
    pub log_times: Mutex<Vec<Timestamp>>,
    /// The name of each batch of lines sent.
    pub log_batches: Mutex<Vec<String>>,
}

impl Default for Scripted {
    fn default() -> Scripted {
        Scripted {
            abilities: Mutex::new(ALL),
            calls: Mutex::default(),
            script: Mutex::default(),
            apps: Mutex::default(),
            installs: Mutex::default(),
            name: Mutex::default(),
            state: Mutex::new(ProviderState::Provisioning),
            issued: Mutex::default(),
            held: Mutex::default(),
            held_after: Mutex::default(),
            held_finish: Mutex::default(),
            held_exchange: Mutex::default(),
            held_list: Mutex::default(),
            held_log: Mutex::default(),
            refuses_finish: AtomicBool::default(),
            fails_give_up: Mutex::default(),
            noted: Notify::new(),
            refuses_tokens: AtomicBool::default(),
            fails_pushes: Mutex::default(),
            refuses_logs: AtomicBool::default(),
            loses_answers: AtomicBool::default(),
            gives_codes: AtomicBool::default(),
            gives_no_refresh: AtomicBool::default(),
            effects: Mutex::default(),
            servers: Mutex::default(),
            log_times: Mutex::default(),
            log_batches: Mutex::default(),
        }
    }
}

/// What Heroku can do.
pub const ALL: Abilities = Abilities {
    config_push: true,
    tokens: true,
    log_lines: true,
    resource_reading: true,
    completion: true,
    webhooks: true,
    inventory: true,
};

impl Scripted {
    fn has(&self, ability: impl Fn(&Abilities) -> bool) -> bool {
        ability(&self.abilities.lock())
    }

    pub fn fail(&self, kinds: impl IntoIterator<Item = CallErrorKind>) {
        self.script.lock().extend(kinds.into_iter().map(Some));
    }

    /// Lets so many calls pass, and fails the one after.
    pub fn fail_after(&self, pass: usize, kind: CallErrorKind) {
        let mut script = self.script.lock();
        script.extend(std::iter::repeat_n(None, pass));
        script.push_back(Some(kind));
    }

    /// Whether no access token is good for a push.
    pub fn refuse_tokens(&self, refuse: bool) {
        self.refuses_tokens.store(refuse, Ordering::SeqCst);
    }

    /// Whether every push meets a provider in trouble.
    pub fn fail_pushes(&self, fail: bool) {
        *self.fails_pushes.lock() = fail.then(|| "in trouble".to_owned());
    }

    /// Makes every push meet a provider in this trouble.
    pub fn fail_pushes_with(&self, message: &str) {
        *self.fails_pushes.lock() = Some(message.to_owned());
    }

    /// Whether every log input is dead.
    pub fn refuse_logs(&self, refuse: bool) {
        self.refuses_logs.store(refuse, Ordering::SeqCst);
    }

    /// Whether a push that the script fails has taken effect all the same.
    pub fn lose_answers(&self, lose: bool) {
        self.loses_answers.store(lose, Ordering::SeqCst);
    }

    /// Whether a lost code is replaced.
    pub fn give_codes(&self, give: bool) {
        self.gives_codes.store(give, Ordering::SeqCst);
    }

    /// Whether a refresh token comes with an access token.
    pub fn give_refresh_tokens(&self, give: bool) {
        self.gives_no_refresh.store(!give, Ordering::SeqCst);
    }

    /// Makes the pushes from now on wait for a permit.
    pub fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Makes the pushes from now on wait for a permit before they are answered.
    pub fn hold_after(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock() = None;
        *self.held_after.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub fn go_on(&self) {
        *self.held.lock() = None;
        *self.held_after.lock() = None;
        *self.held_finish.lock() = None;
        *self.held_exchange.lock() = None;
        *self.held_list.lock() = None;
        *self.held_log.lock() = None;
    }

    /// Makes lines to this log input wait for a permit.
    pub fn hold_log(&self, url: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_log.lock() = Some((url.to_owned(), Arc::clone(&gate)));
        gate
    }

    /// Makes completion calls wait for a permit after they were noted as called.
    pub fn hold_finish(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_finish.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Makes exchanges wait for a permit after they were noted as called.
    pub fn hold_exchange(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_exchange.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Makes lists of apps wait for a permit after they were made.
    pub fn hold_list(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_list.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Whether no resource is taken as ready.
    pub fn refuse_finish(&self, refuse: bool) {
        self.refuses_finish.store(refuse, Ordering::SeqCst);
    }

    /// Fails the calls that give a resource up from now on; one whose answer is lost takes effect.
    pub fn fail_give_up(&self, kind: CallErrorKind) {
        *self.fails_give_up.lock() = Some(kind);
    }

    /// Waits until a call like this was noted.
    pub async fn called(&self, call: &Call) {
        loop {
            let noted = self.noted.notified();
            if self.count(|made| made == call) > 0 {
                return;
            }
            noted.await;
        }
    }

    pub fn pushes(&self) -> Vec<String> {
        let calls = self.calls.lock();
        let push = |call: &Call| match call {
            Call::Push { username, .. } => Some(username.clone()),
            _ => None,
        };
        calls.iter().filter_map(push).collect()
    }

    /// All lines sent, in order, whether they arrived or not.
    pub fn logs(&self) -> Vec<Vec<String>> {
        let calls = self.calls.lock();
        let log = |call: &Call| match call {
            Call::Log { lines, .. } => Some(lines.clone()),
            _ => None,
        };
        calls.iter().filter_map(log).collect()
    }

    pub fn count(&self, is: impl Fn(&Call) -> bool) -> usize {
        self.calls.lock().iter().filter(|call| is(call)).count()
    }

    fn call(&self, call: Call) -> Result<(), CallError> {
        self.calls.lock().push(call);
        self.noted.notify_waiters();
        match self.script.lock().pop_front() {
            Some(Some(kind)) => Err(CallError::new(kind, format!("scripted {kind:?}"))),
            Some(None) | None => Ok(()),
        }
    }

    /// A completion action: what is not provisioning any more refuses both.
    fn move_on(&self, answer: Result<(), CallError>, to: ProviderState) -> Result<(), CallError> {
        let mut state = self.state.lock();
        if answer.is_err() && !self.loses_answers.load(Ordering::SeqCst) {
            return answer;
        }
        if *state != ProviderState::Provisioning {
            let why = format!("is {state:?}");
            return Err(CallError::new(CallErrorKind::Refused, why));
        }
        *state = to;
        answer
    }

    fn issue(&self) -> Tokens {
        let mut issued = self.issued.lock();
        *issued += 1;
        Tokens {
            access: format!("access-{issued}").into(),
            expires_in: Duration::from_secs(28_799),
            refresh: (!self.gives_no_refresh.load(Ordering::SeqCst))
                .then(|| format!("refresh-{issued}").into()),
        }
    }
}

async fn pass(gate: Option<Arc<Semaphore>>) {
    if let Some(gate) = gate {
        gate.acquire().await.expect("the gate stays").forget();
    }
}

impl Provider for Scripted {
    fn tokens(&self) -> Option<&dyn TokenIssuer> {
        self.has(|abilities| abilities.tokens).then_some(self)
    }
    fn config_push(&self) -> Option<&dyn ConfigPush> {
        self.has(|abilities| abilities.config_push).then_some(self)
    }
    fn log_sink(&self) -> Option<&dyn LogSink> {
        self.has(|abilities| abilities.log_lines).then_some(self)
    }
    fn resource_reader(&self) -> Option<&dyn ResourceReader> {
        self.has(|abilities| abilities.resource_reading)
            .then_some(self)
    }
    fn completion(&self) -> Option<&dyn Completion> {
        self.has(|abilities| abilities.completion).then_some(self)
    }
    fn webhooks(&self) -> Option<&dyn Webhooks> {
        self.has(|abilities| abilities.webhooks).then_some(self)
    }
    fn inventory(&self) -> Option<&dyn Inventory> {
        self.has(|abilities| abilities.inventory).then_some(self)
    }
}

impl ConfigPush for Scripted {
    fn push_config<'a>(
        &'a self,
        _: &'a ExternalId,
        token: Token<'a>,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let username = values.username.to_string();
            let answer = self.call(Call::Push {
                token: token.map_or_else(String::new, |token| token.expose_secret().to_owned()),
                username: username.clone(),
            });
            let (held, held_after) = (self.held.lock().clone(), self.held_after.lock().clone());
            pass(held).await;
            if self.refuses_tokens.load(Ordering::SeqCst) {
                return Err(CallError::new(CallErrorKind::Unauthorized, "no such token"));
            }
            if let Some(message) = self.fails_pushes.lock().clone() {
                let trouble = CallErrorKind::Retry { after: None };
                return Err(CallError::new(trouble, message));
            }
            let arrives = self.loses_answers.load(Ordering::SeqCst);
            if answer.is_ok() || arrives {
                self.effects.lock().push(username);
                self.servers.lock().push(values.servers.clone());
            }
            pass(held_after).await;
            answer
        })
    }
}

impl TokenIssuer for Scripted {
    fn exchange<'a>(&'a self, _: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>> {
        Box::pin(async {
            let answer = self.call(Call::Exchange);
            let held = self.held_exchange.lock().clone();
            pass(held).await;
            answer.map(|()| self.issue())
        })
    }

    fn fresh_code<'a>(
        &'a self,
        _: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, CallError>> {
        Box::pin(async {
            if !self.gives_codes.load(Ordering::SeqCst) {
                return Ok(None);
            }
            self.call(Call::FreshCode)?;
            Ok(Some("fresh".to_owned().into()))
        })
    }

    fn refresh<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>> {
        let call = Call::Refresh(token.expose_secret().to_owned());
        Box::pin(async {
            let answer = self.call(call);
            tokio::task::yield_now().await;
            answer.map(|()| self.issue())
        })
    }
}

impl ResourceReader for Scripted {
    fn attachments<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, CallError>> {
        Box::pin(async {
            self.call(Call::Attachments)?;
            let (apps, held) = (self.apps.lock().clone(), self.held_list.lock().clone());
            pass(held).await;
            Ok(apps)
        })
    }

    fn resource<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<ResourceNow, CallError>> {
        Box::pin(async {
            self.call(Call::Resource)?;
            Ok(ResourceNow {
                name: Some(self.name.lock().clone()),
                state: *self.state.lock(),
            })
        })
    }
}

impl Completion for Scripted {
    fn finish<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async {
            let answer = self.call(Call::Finish);
            let held = self.held_finish.lock().clone();
            pass(held).await;
            match self.refuses_finish.load(Ordering::SeqCst) {
                true => Err(CallError::new(CallErrorKind::Refused, "not taken")),
                false => self.move_on(answer, ProviderState::Provisioned),
            }
        })
    }

    fn give_up<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async {
            let answer = self.call(Call::GiveUp);
            let answer = match *self.fails_give_up.lock() {
                Some(kind) => Err(CallError::new(kind, "failed")),
                None => answer,
            };
            self.move_on(answer, ProviderState::Deprovisioned)
        })
    }
}

impl Webhooks for Scripted {
    fn url(&self) -> &str {
        "https://larder.example.com/heroku/webhooks"
    }

    fn subscribe<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async { self.call(Call::Subscribe) })
    }
}

impl Inventory for Scripted {
    fn installs(&self) -> BoxFuture<'_, Result<Vec<ExternalId>, CallError>> {
        Box::pin(async {
            self.call(Call::Installs)?;
            Ok(self.installs.lock().clone())
        })
    }
}

impl LogSink for Scripted {
    fn send_log<'a>(
        &'a self,
        _: &'a ExternalId,
        url: &'a SecretString,
        batch: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        let call = Call::Log {
            url: url.expose_secret().to_owned(),
            lines: lines.iter().map(|line| line.text.clone()).collect(),
        };
        let times = lines.iter().map(|line| line.at);
        self.log_times.lock().extend(times);
        self.log_batches.lock().push(batch.to_owned());
        Box::pin(async move {
            let answer = self.call(call);
            let held = self.held_log.lock().clone();
            let held = held.filter(|(held, _)| held == url.expose_secret());
            pass(held.map(|(_, gate)| gate)).await;
            answer?;
            if self.refuses_logs.load(Ordering::SeqCst) {
                return Err(CallError::new(CallErrorKind::Unauthorized, "a dead input"));
            }
            Ok(())
        })
    }
}
