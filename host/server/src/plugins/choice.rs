//! The `minerva` object of a request: which plugins it uses, with which arguments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minerva_engine::plugin::{Kind, OnFault, Plugin, Plugins, SamplerPlugin, StreamPlugin, Template};
use minerva_engine::request::{Deadlines, Use};
use minerva_models::registry::{PluginChoice, PluginChoices};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;
use crate::origin::{Origin, PluginOrigin};

/// The most plugins of one kind that a request can use.
const CHAIN_MAX: usize = 8;

/// The part of a body that has the object.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Body {
    minerva: Option<Object<Wire>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "Minerva")]
#[serde(deny_unknown_fields)]
struct Wire {
    /// The plugin that makes the prompt.
    template: Option<Object<WireChoice>>,
    /// The plugins that choose each token, first to last.
    #[schemars(length(max = CHAIN_MAX))]
    samplers: Option<Vec<Object<WireChoice>>>,
    /// The plugins that process the text, first to last.
    #[schemars(length(max = CHAIN_MAX))]
    stream: Option<Vec<Object<WireChoice>>>,
    /// Only false.
    #[schemars(extend("enum" = [false, null]))]
    trace: Option<bool>,
    /// Who waits goes by it before others of the same key.
    #[schemars(range(min = -128, max = 127))]
    priority: Option<i8>,
    /// How long the request may take: no longer than the server lets it.
    timeouts: Option<Object<WireTimeouts>>,
}

/// In seconds.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Timeouts")]
#[serde(deny_unknown_fields)]
struct WireTimeouts {
    #[schemars(extend("exclusiveMinimum" = 0))]
    queue: Option<f64>,
    #[schemars(extend("exclusiveMinimum" = 0))]
    first_token: Option<f64>,
    #[schemars(extend("exclusiveMinimum" = 0))]
    total: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PluginChoice")]
#[serde(deny_unknown_fields)]
struct WireChoice {
    /// The plugin's name in `GET /v1/plugins`, or name and version: `min-p@0.1`.
    id: String,
    args: Option<Value>,
    /// What follows when it fails: the request ends, or goes on without it, or with the server's own in its place.
    on_fault: Option<WireOnFault>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "OnFault")]
#[serde(rename_all = "lowercase")]
enum WireOnFault {
    Fail,
    Skip,
    Fallback,
}

/// The plugins of a request, found.
#[derive(Default)]
pub(crate) struct Chosen {
    pub(crate) template: Option<Use<dyn Template>>,
    pub(crate) samplers: Vec<Use<dyn SamplerPlugin>>,
    pub(crate) stream: Vec<Use<dyn StreamPlugin>>,
}

impl Body {
    /// How urgent the request is, and how long it may take: no longer than the server lets it.
    pub(crate) fn urgency(&self, limits: Deadlines) -> Result<(i8, Deadlines), Failure> {
        let wire = self.minerva.as_ref().map(|object| &object.0);
        let priority = wire.and_then(|wire| wire.priority).unwrap_or(0);
        let Some(asked) = wire.and_then(|wire| wire.timeouts.as_ref()) else { return Ok((priority, limits)) };
        let Object(WireTimeouts { queue, first_token, total }) = asked;
        let deadlines = Deadlines {
            queue: shorter("queue", *queue, limits.queue)?,
            first_token: shorter("first_token", *first_token, limits.first_token)?,
            total: shorter("total", *total, limits.total)?,
        };
        Ok((priority, deadlines))
    }

    /// Finds the plugins that the request names, and in their absence the defaults. What the request names itself
    /// is noted in `origin`.
    pub(crate) fn resolve(
        self,
        defaults: &PluginChoices,
        plugins: &Plugins,
        origin: &mut Origin,
    ) -> Result<Chosen, Failure> {
        let wire = self.minerva.map(|object| object.0).unwrap_or_default();
        if wire.trace == Some(true) {
            let message = "`minerva.trace` is not supported yet; leave it out";
            return Err(Failure::not_supported(message).param("minerva.trace"));
        }
        let chain = |wire: Option<Vec<Object<WireChoice>>>, defaults: &[PluginChoice]| match wire {
            Some(wire) => (wire.into_iter().map(WireChoice::choice).collect(), true),
            None => (defaults.to_vec(), false),
        };
        let (samplers, own_samplers) = chain(wire.samplers, &defaults.samplers);
        let (stream, own_stream) = chain(wire.stream, &defaults.stream);
        let own_template = wire.template.is_some();
        let template = wire.template.map(WireChoice::choice).or_else(|| defaults.template.clone());

        let mut finder = Finder { plugins, found: BTreeMap::new(), origin };
        let template: Vec<PluginChoice> = template.into_iter().collect();
        Ok(Chosen {
            template: finder
                .find(Kind::Template, template, own_template, |plugin| plugin.template.clone())?
                .pop(),
            samplers: finder.find(Kind::Sampler, samplers, own_samplers, |plugin| plugin.sampler.clone())?,
            stream: finder.find(Kind::Stream, stream, own_stream, |plugin| plugin.stream.clone())?,
        })
    }
}

/// The shorter of what is asked for and the server's limit.
fn shorter(name: &str, asked: Option<f64>, limit: Option<Duration>) -> Result<Option<Duration>, Failure> {
    let Some(seconds) = asked else { return Ok(limit) };
    if seconds <= 0.0 {
        let path = format!("minerva.timeouts.{name}");
        let message = format!("`{path}` must be a number of seconds above 0, not {seconds}");
        return Err(Failure::invalid(path, message));
    }
    // What no clock can count is no limit of its own.
    let asked = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(limit.map_or(asked, |limit| asked.min(limit))))
}

impl WireChoice {
    fn choice(object: Object<Self>) -> PluginChoice {
        let Self { id, args, on_fault } = object.0;
        let on_fault = on_fault.map(|on_fault| match on_fault {
            WireOnFault::Fail => OnFault::Fail,
            WireOnFault::Skip => OnFault::Skip,
            WireOnFault::Fallback => OnFault::Fallback,
        });
        PluginChoice { id, args: args.unwrap_or_default(), on_fault }
    }
}

struct Finder<'a> {
    plugins: &'a Plugins,
    /// A plugin that is named twice is the same version twice, whatever is swapped meanwhile.
    found: BTreeMap<String, Option<Arc<Plugin>>>,
    origin: &'a mut Origin,
}

impl Finder<'_> {
    /// Finds plugins of a kind. A default that is not there is the server's mistake, not the client's.
    fn find<P: ?Sized>(
        &mut self,
        kind: Kind,
        choices: Vec<PluginChoice>,
        own: bool,
        as_kind: impl Fn(&Plugin) -> Option<Arc<P>>,
    ) -> Result<Vec<Use<P>>, Failure> {
        let key = match kind {
            Kind::Template => "minerva.template",
            Kind::Sampler => "minerva.samplers",
            Kind::Stream => "minerva.stream",
        };
        if choices.len() > CHAIN_MAX {
            let message = format!("`{key}` has {} plugins, and the limit is {CHAIN_MAX}", choices.len());
            return Err(Failure::invalid(key, message));
        }
        let mut found = Vec::with_capacity(choices.len());
        for (at, PluginChoice { id, args, on_fault }) in choices.into_iter().enumerate() {
            let path = if kind == Kind::Template { key.to_owned() } else { format!("{key}[{at}]") };
            let installed = self.found.entry(id.clone()).or_insert_with(|| self.plugins.get(&id)).clone();
            let Some((plugin, name)) = installed.as_ref().and_then(|plugin| {
                // Errors of the engine have the plugin's name, which the id may choose by version.
                Some((as_kind(plugin)?, plugin.identity.name.clone()))
            }) else {
                let message = self.missing(&id, kind);
                return Err(if own {
                    Failure::invalid(format!("{path}.id"), message)
                } else {
                    Failure::internal(format!("a default of this model cannot be used: {message}"))
                });
            };
            if own {
                self.origin.plugins.push(PluginOrigin { name: name.clone(), kind, path });
            }
            let on_fault = on_fault.unwrap_or_else(|| self.plugins.on_fault(&name));
            found.push(Use { plugin, args, on_fault });
        }
        Ok(found)
    }

    fn missing(&self, id: &str, kind: Kind) -> String {
        let installed = self.plugins.list();
        let of_kind = installed.iter().filter(|plugin| plugin.kinds().any(|it| it == kind));
        let names = of_kind.map(|plugin| plugin.identity.name.as_str());
        let (shown, kind_name) = (nearest::shown(id), name(kind));
        match self.plugins.get(id) {
            Some(other) => {
                let is: Vec<&str> = other.kinds().map(name).collect();
                let available = nearest::list(names);
                format!(
                    "plugin `{shown}` is a {}, not a {kind_name}; available: {available}",
                    is.join(" and a ")
                )
            }
            None => match id.split_once('@').and_then(|(base, _)| self.plugins.get(base)) {
                Some(other) => {
                    let identity = &other.identity;
                    format!(
                        "there is no {kind_name} `{shown}`; `{}` is loaded in version {}",
                        identity.name, identity.version
                    )
                }
                None => format!("there is no {kind_name} `{shown}`{}", nearest::hint(id, names)),
            },
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Template => "template",
        Kind::Sampler => "sampler",
        Kind::Stream => "stream processor",
    }
}
