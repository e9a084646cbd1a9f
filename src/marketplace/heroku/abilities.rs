//! What Heroku can do, ability by ability. The calls themselves are in [`client`](super::client).

use secrecy::SecretString;

use super::client::HerokuClient;
use crate::domain::{BoxFuture, ConfigValues, ExternalId};
use crate::http::{CallError, CallErrorKind};
use crate::outbox::ports::{
    AttachedApp, Completion, ConfigPush, Inventory, LogLine, LogSink, Provider, ResourceNow,
    ResourceReader, Token, TokenIssuer, Tokens, Webhooks,
};

impl Provider for HerokuClient {
    fn tokens(&self) -> Option<&dyn TokenIssuer> {
        Some(self)
    }
    fn config_push(&self) -> Option<&dyn ConfigPush> {
        Some(self)
    }
    fn log_sink(&self) -> Option<&dyn LogSink> {
        Some(self)
    }
    fn resource_reader(&self) -> Option<&dyn ResourceReader> {
        Some(self)
    }
    fn completion(&self) -> Option<&dyn Completion> {
        Some(self)
    }
    fn webhooks(&self) -> Option<&dyn Webhooks> {
        self.settings.webhooks.as_ref()?;
        Some(self)
    }
    fn inventory(&self) -> Option<&dyn Inventory> {
        Some(self)
    }
}

/// Every call about a resource takes its token.
fn needed(token: Token<'_>) -> Result<&SecretString, CallError> {
    token.ok_or_else(|| CallError::new(CallErrorKind::Refused, "there is no token for the call"))
}

impl TokenIssuer for HerokuClient {
    fn exchange<'a>(&'a self, code: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>> {
        Box::pin(self.token("grant exchange", "authorization_code", "code", code))
    }

    fn fresh_code<'a>(
        &'a self,
        resource: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, CallError>> {
        Box::pin(self.code_again(resource))
    }

    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
    ) -> BoxFuture<'a, Result<Tokens, CallError>> {
        Box::pin(self.token(
            "token refresh",
            "refresh_token",
            "refresh_token",
            refresh_token,
        ))
    }
}

impl ConfigPush for HerokuClient {
    fn push_config<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.patch_config(resource, needed(token)?, values).await })
    }
}

impl LogSink for HerokuClient {
    fn send_log<'a>(
        &'a self,
        resource: &'a ExternalId,
        url: &'a SecretString,
        batch: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.post_log(resource, url, batch, lines))
    }
}

impl ResourceReader for HerokuClient {
    fn resource<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<ResourceNow, CallError>> {
        Box::pin(async move { self.read_addon(resource, needed(token)?).await })
    }

    fn attachments<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, CallError>> {
        Box::pin(async move { self.list_attachments(resource, needed(token)?).await })
    }
}

impl Completion for HerokuClient {
    fn finish<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.act("provision", resource, needed(token)?).await })
    }

    fn give_up<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.act("deprovision", resource, needed(token)?).await })
    }
}

impl Webhooks for HerokuClient {
    fn url(&self) -> &str {
        let webhooks = self.settings.webhooks.as_ref();
        webhooks.map_or("", |webhooks| webhooks.url.as_str())
    }

    fn subscribe<'a>(
        &'a self,
        resource: &'a ExternalId,
        token: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move { self.subscribe_to_events(resource, needed(token)?).await })
    }
}

impl Inventory for HerokuClient {
    fn installs(&self) -> BoxFuture<'_, Result<Vec<ExternalId>, CallError>> {
        Box::pin(self.list_installs())
    }
}
