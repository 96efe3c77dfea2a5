//! Which plugins, and what they may.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use minerva::engine::plugin::{BreakerOptions, Policy};
use minerva::wasm::Options;
use minerva::{Builder, OnFault};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Plugin")]
pub(crate) struct PluginArguments {
    /// A plugin, by the name that requests use for it; may be repeated
    #[arg(long = "plugin", env = "MINERVA_PLUGIN", value_name = "NAME=FILE", value_delimiter = ',')]
    pub files: Vec<String>,
    /// A folder of plugins: each .wasm file in it, by the name of the file; changes in it are followed
    #[arg(long = "plugins-dir", env = "MINERVA_PLUGINS_DIR", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Let plugins of the tier full-row see every logit
    #[arg(long, env = "MINERVA_ALLOW_FULL_ROW")]
    pub allow_full_row: bool,
    /// What happens to requests that do not say it when a plugin fails: fail, skip or fallback; with a name, for
    /// that plugin; may be repeated
    #[arg(
        long = "plugin-on-fault",
        env = "MINERVA_PLUGIN_ON_FAULT",
        value_name = "[NAME=]WHAT",
        value_delimiter = ','
    )]
    pub on_fault: Vec<String>,
    /// Take a plugin that fails so often in so much time out of service for so long: 10/60s/30s; off is never
    /// [default: 10/60s/30s]
    #[arg(long = "plugin-breaker", env = "MINERVA_PLUGIN_BREAKER", value_name = "FAULTS/WINDOW/PAUSE")]
    pub breaker: Option<String>,
    /// What plugins may use: memory=32MiB, or with a name for that plugin, min-p:pick=5ms; may be repeated
    #[arg(
        long = "plugin-limit",
        env = "MINERVA_PLUGIN_LIMIT",
        value_name = "[NAME:]LIMIT=VALUE",
        value_delimiter = ','
    )]
    pub limits: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArgument,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Plugin")]
pub(crate) struct CacheArgument {
    /// Where compiled plugins are kept; off is nowhere [default: minerva/plugins in the user's cache folder]
    #[arg(long = "plugin-cache", env = "MINERVA_PLUGIN_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl CacheArgument {
    /// The folder, if anything is to be kept.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(folder) if folder.as_os_str() == "off" => None,
            Some(folder) => Some(folder.clone()),
            None => dirs::cache_dir().map(|folder| folder.join("minerva").join("plugins")),
        }
    }
}

impl PluginArguments {
    /// A builder that loads these plugins and treats them so.
    pub(crate) fn apply(&self, mut builder: Builder) -> Result<Builder> {
        for (name, path) in self.files()? {
            builder = builder.plugin(name, path);
        }
        if let Some(folder) = &self.folder {
            builder = builder.plugins_dir(folder);
        }
        let mut wasm = Options { full_row: self.allow_full_row, ..Options::default() };
        set_limits(&mut wasm, &self.limits)?;
        wasm.cache = self.cache.folder();
        builder = builder.limits(|options| *options = wasm);
        Ok(builder.plugin_policy(self.policy()?))
    }

    /// The components to load, by name.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for plugin in &self.files {
            let (name, path) = plugin
                .split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .ok_or_else(|| anyhow!("--plugin {plugin}: write NAME=FILE, for example min-p=min-p.wasm"))?;
            files.push((name.into(), path.into()));
        }
        Ok(files)
    }

    fn policy(&self) -> Result<Policy> {
        let mut policy = Policy::default();
        for flag in &self.on_fault {
            let wrong = || format!("--plugin-on-fault {flag}");
            match flag.split_once('=') {
                Some((name, what)) => {
                    policy.on_fault_of.insert(name.to_owned(), on_fault(what).with_context(wrong)?);
                }
                None => policy.on_fault = on_fault(flag).with_context(wrong)?,
            }
        }
        if let Some(flag) = &self.breaker {
            policy.breaker = breaker(flag).with_context(|| format!("--plugin-breaker {flag}"))?;
        }
        Ok(policy)
    }
}

/// Sets limits as flags give them.
pub(crate) fn set_limits(options: &mut Options, flags: &[String]) -> Result<()> {
    flags
        .iter()
        .try_for_each(|flag| options.set_limit(flag).map_err(|why| anyhow!("--plugin-limit {flag}: {why}")))
}

fn on_fault(what: &str) -> Result<OnFault> {
    Ok(match what {
        "fail" => OnFault::Fail,
        "skip" => OnFault::Skip,
        "fallback" => OnFault::Fallback,
        _ => bail!("'{what}' is not fail, skip or fallback"),
    })
}

fn breaker(flag: &str) -> Result<Option<BreakerOptions>> {
    if flag == "off" {
        return Ok(None);
    }
    let parts: Vec<&str> = flag.split('/').collect();
    let &[faults, window, pause] = &parts[..] else {
        bail!("write FAULTS/WINDOW/PAUSE, for example 10/60s/30s, or off");
    };
    let count = faults.parse().ok().filter(|count| (1..=1_000).contains(count));
    let faults = count.ok_or_else(|| anyhow!("'{faults}' is not a number of faults from 1 to 1000"))?;
    Ok(Some(BreakerOptions { faults, window: duration(window)?, pause: duration(pause)? }))
}

/// A time with its unit: 5ms, 60s, 2m.
fn duration(text: &str) -> Result<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => bail!("'{text}' is not a time such as 500ms, 60s or 2m"),
    };
    let time = number.parse().ok().and_then(|number: u64| number.checked_mul(milliseconds));
    let in_range = |time: &u64| (1..=86_400_000).contains(time);
    let time = time.filter(in_range).ok_or_else(|| anyhow!("'{text}' is not from 1 ms to a day"))?;
    Ok(Duration::from_millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on_fault: &[&str], breaker: Option<&str>) -> Result<Policy> {
        let arguments = PluginArguments {
            on_fault: on_fault.iter().map(|flag| (*flag).to_owned()).collect(),
            breaker: breaker.map(str::to_owned),
            ..PluginArguments::default()
        };
        arguments.policy()
    }

    #[test]
    fn policies_are_read() {
        let read = policy(&["skip", "pii=fail"], Some("3/2m/500ms")).unwrap();
        assert_eq!(read.on_fault, OnFault::Skip);
        assert_eq!(read.on_fault_of["pii"], OnFault::Fail);
        let expected =
            BreakerOptions { faults: 3, window: Duration::from_secs(120), pause: Duration::from_millis(500) };
        assert_eq!(read.breaker, Some(expected));
        assert_eq!(policy(&[], Some("off")).unwrap().breaker, None);
        assert_eq!(policy(&[], None).unwrap(), Policy::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (on_fault, breaker, said) in [
            (&["ignore"][..], None, "--plugin-on-fault ignore: 'ignore' is not fail, skip or fallback"),
            (&["a=b"], None, "--plugin-on-fault a=b: 'b' is not"),
            (&[], Some("10"), "--plugin-breaker 10: write FAULTS/WINDOW/PAUSE"),
            (&[], Some("0/1s/1s"), "'0' is not a number of faults from 1 to 1000"),
            (&[], Some("1/1/1s"), "'1' is not a time such as"),
            (&[], Some("1/1s/0s"), "'0s' is not from 1 ms to a day"),
        ] {
            let error = format!("{:#}", policy(on_fault, breaker).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
