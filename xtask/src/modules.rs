//! Kernel modules and the order in which they load, from `modules.dep`.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, anyhow, bail};

/// Which module needs which, as `depmod` found it. Paths are relative to the folder of `modules.dep`.
#[derive(Debug)]
pub(crate) struct Dependencies<'a> {
    needs: HashMap<&'a str, Vec<&'a str>>,
    paths: HashMap<String, &'a str>,
    builtin: HashSet<String>,
}

impl<'a> Dependencies<'a> {
    /// `dep` and `builtin` are the texts of `modules.dep` and `modules.builtin`.
    pub(crate) fn parse(dep: &'a str, builtin: &'a str) -> Result<Self> {
        let mut needs = HashMap::new();
        let mut paths = HashMap::new();
        for (number, line) in dep.lines().enumerate() {
            let (path, list) = line
                .split_once(':')
                .ok_or_else(|| anyhow!("modules.dep, line {}: no colon in {line:?}", number + 1))?;
            needs.insert(path, list.split_whitespace().collect());
            paths.insert(name(path), path);
        }
        let builtin = builtin.lines().map(name).collect();
        Ok(Self { needs, paths, builtin })
    }

    /// The paths to load, each after everything that it needs, none twice. What is built into the kernel is left out.
    pub(crate) fn order(&self, modules: &[&str]) -> Result<Vec<&'a str>> {
        let mut order = Vec::new();
        for module in modules {
            let module = module.replace('-', "_");
            if self.builtin.contains(&module) {
                continue;
            }
            let path =
                self.paths.get(&module).ok_or_else(|| anyhow!("the guest kernel has no module {module}"))?;
            self.visit(path, &mut order, &mut Vec::new())?;
        }
        Ok(order)
    }

    fn visit(&self, path: &'a str, order: &mut Vec<&'a str>, above: &mut Vec<&'a str>) -> Result<()> {
        if order.contains(&path) {
            return Ok(());
        }
        if above.contains(&path) {
            bail!("modules.dep: {path} needs itself");
        }
        above.push(path);
        let needs = self
            .needs
            .get(path)
            .ok_or_else(|| anyhow!("modules.dep names {path}, but has no line for it"))?;
        for needed in needs {
            self.visit(needed, order, above)?;
        }
        above.pop();
        order.push(path);
        Ok(())
    }
}

/// `kernel/drivers/net/virtio_net.ko.xz` → `virtio_net`; the kernel takes `-` for `_`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/md/dm-mod.ko:
";

    #[test]
    fn each_module_comes_after_what_it_needs_and_once() {
        let dependencies = Dependencies::parse(DEP, "kernel/net/packet/af_packet.ko\n").unwrap();
        let order = dependencies.order(&["virtio_net", "virtio", "af_packet", "dm_mod"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["failover", "net_failover", "virtio_ring", "virtio", "virtio_net", "dm_mod"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dependencies = Dependencies::parse(DEP, "").unwrap();
        let error = dependencies.order(&["e1000"]).unwrap_err();
        assert_eq!(error.to_string(), "the guest kernel has no module e1000");
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(Dependencies::parse("kernel/a.ko", "").is_err());
        let circle = Dependencies::parse("a.ko: b.ko\nb.ko: a.ko\n", "").unwrap();
        assert!(circle.order(&["a"]).unwrap_err().to_string().contains("needs itself"));
        let dangling = Dependencies::parse("a.ko: b.ko\n", "").unwrap();
        assert!(dangling.order(&["a"]).unwrap_err().to_string().contains("no line"));
    }
}
