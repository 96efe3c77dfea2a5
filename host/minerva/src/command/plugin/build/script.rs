//! Python, JavaScript and TypeScript: put into a component together with their engine.

use std::path::Path;

use anyhow::Result;

use super::project::{Project, Tool, WORLD};
use crate::config::Language;

const COMPONENTIZE_PY: Tool = Tool { name: "componentize-py", own: ".venv/bin/componentize-py" };
const COMPONENTIZE_QJS: Tool = Tool { name: "componentize-qjs", own: "node_modules/.bin/componentize-qjs" };
const TSC: Tool = Tool { name: "tsc", own: "node_modules/.bin/tsc" };

/// Builds a project into a component. `world` is the folder with its interface.
pub(super) fn build(project: &Project, world: &Path, component: &Path) -> Result<()> {
    let kind = project.kind.as_str();
    if project.language == Language::Python {
        let glue = format!("minerva_plugin/glue/{kind}");
        project.run(&COMPONENTIZE_PY, |command| {
            command.arg("-d").arg(world).args(["-w", WORLD, "componentize", "-p", ".", "-p", &glue, "app"]);
            command.arg("-o").arg(component);
        })?;
        return Ok(());
    }
    if project.language == Language::Ts {
        project.run(&TSC, |_| {})?;
    }
    let glue = format!("minerva-plugin/glue/{kind}.js");
    project.run(&COMPONENTIZE_QJS, |command| {
        command.arg("-w").arg(world).args(["-j", &glue, "--module-root", ".", "-n", WORLD]);
        command.args(["--sync", "--stub-wasi", "-m", "-o"]).arg(component);
    })?;
    Ok(())
}
