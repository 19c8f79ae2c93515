//! `GET /v1/agent/host`: the machine, as the kernel tells it under `/proc` and `/etc`.
//!
//! The texts of those files are read in one blocking task; making values of them is pure. A file that cannot be read
//! leaves its part empty and is named in `Errors`.

use std::{collections::BTreeMap, path::Path, time::SystemTime};

use serde_json::{Map, Value, json};

use crate::http::{
    context::Cx,
    reply::{Failure, Reply},
};

/// `GET /v1/agent/host`.
pub(in crate::http) async fn host(cx: Cx) -> Result<Reply, Failure> {
    let path = cx.api.agent.options().data_dir.clone().unwrap_or_else(|| "/".into());
    let value = tokio::task::spawn_blocking(move || collect(&path))
        .await
        .map_err(|error| Failure::internal(format!("cannot look at the host: {error}")))?;
    Reply::json(&value)
}

fn collect(disk_path: &Path) -> Value {
    let mut errors = Vec::new();
    let mut read = |path: &str| {
        std::fs::read_to_string(path).unwrap_or_else(|error| {
            errors.push(format!("{path}: {error}"));
            String::new()
        })
    };
    let memory = memory(&read("/proc/meminfo"));
    let cpu = cpus(&read("/proc/cpuinfo"));
    let release = read("/etc/os-release");
    let stat = read("/proc/stat");
    let uptime = read("/proc/uptime");
    let host = host_info(&release, &stat, &uptime);
    let disk = disk(disk_path).unwrap_or_else(|error| {
        errors.push(format!("{}: {error}", disk_path.display()));
        Value::Null
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({
        "Memory": memory,
        "CPU": cpu,
        "Host": host,
        "Disk": disk,
        "CollectionTime": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        "Errors": if errors.is_empty() { Value::Null } else { json!(errors) },
    })
}

/// `Name: value` lines, as most files under `/proc` have them.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
}

/// `/proc/meminfo` in bytes, under the names Consul's clients know.
fn memory(meminfo: &str) -> Value {
    let sizes: BTreeMap<&str, u64> = pairs(meminfo)
        .filter_map(|(name, value)| {
            let mut words = value.split_ascii_whitespace();
            let number: u64 = words.next()?.parse().ok()?;
            Some((name, if words.next() == Some("kB") { number.saturating_mul(1024) } else { number }))
        })
        .collect();
    let size = |name: &str| sizes.get(name).copied().unwrap_or_default();
    let cached = size("Cached") + size("SReclaimable");
    let used = size("MemTotal").saturating_sub(size("MemFree")).saturating_sub(size("Buffers")).saturating_sub(cached);
    json!({
        "total": size("MemTotal"),
        "available": size("MemAvailable"),
        "used": used,
        "usedPercent": percent(used, size("MemTotal")),
        "free": size("MemFree"),
        "active": size("Active"),
        "inactive": size("Inactive"),
        "buffers": size("Buffers"),
        "cached": cached,
        "writeback": size("Writeback"),
        "dirty": size("Dirty"),
        "shared": size("Shmem"),
        "slab": size("Slab"),
        "sreclaimable": size("SReclaimable"),
        "sunreclaim": size("SUnreclaim"),
        "pagetables": size("PageTables"),
        "swapcached": size("SwapCached"),
        "commitlimit": size("CommitLimit"),
        "committedas": size("Committed_AS"),
        "swaptotal": size("SwapTotal"),
        "swapfree": size("SwapFree"),
        "mapped": size("Mapped"),
        "hugepagestotal": size("HugePages_Total"),
        "hugepagesfree": size("HugePages_Free"),
        "hugepagesize": size("Hugepagesize"),
    })
}

/// `/proc/cpuinfo`: one object a processor.
fn cpus(cpuinfo: &str) -> Value {
    let blocks = cpuinfo.split("\n\n").map(|block| pairs(block).collect::<BTreeMap<_, _>>());
    let cpus: Vec<Value> = blocks
        .filter(|fields| fields.contains_key("processor"))
        .map(|fields| {
            let text = |name: &str| fields.get(name).copied().unwrap_or_default();
            let number = |name: &str| text(name).parse::<i64>().unwrap_or_default();
            json!({
                "cpu": number("processor"),
                "vendorId": text("vendor_id"),
                "family": text("cpu family"),
                "model": text("model"),
                "stepping": number("stepping"),
                "physicalId": text("physical id"),
                "coreId": text("core id"),
                "cores": 1,
                "modelName": text("model name"),
                "mhz": text("cpu MHz").parse::<f64>().unwrap_or_default(),
                "cacheSize": text("cache size").trim_end_matches(" KB").parse::<i64>().unwrap_or_default(),
                "flags": text("flags").split_ascii_whitespace().collect::<Vec<_>>(),
                "microcode": text("microcode"),
            })
        })
        .collect();
    Value::Array(cpus)
}

/// Names, times and versions.
fn host_info(os_release: &str, stat: &str, uptime: &str) -> Value {
    let release: BTreeMap<&str, &str> = os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let os = |name: &str| release.get(name).copied().unwrap_or_default();
    let boot_time = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|value| value.trim().parse::<u64>().ok())
        .unwrap_or_default();
    let uptime = uptime.split(['.', ' ']).next().and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
    let kernel = rustix::system::uname();
    let mut host = Map::new();
    for (name, value) in [
        ("hostname", json!(kernel.nodename().to_string_lossy())),
        ("uptime", json!(uptime)),
        ("bootTime", json!(boot_time)),
        ("procs", json!(processes())),
        ("os", json!(std::env::consts::OS)),
        ("platform", json!(os("ID"))),
        ("platformFamily", json!(os("ID_LIKE").split(' ').next().filter(|id| !id.is_empty()).unwrap_or(os("ID")))),
        ("platformVersion", json!(os("VERSION_ID"))),
        ("kernelVersion", json!(kernel.release().to_string_lossy())),
        ("kernelArch", json!(kernel.machine().to_string_lossy())),
    ] {
        host.insert(name.to_owned(), value);
    }
    Value::Object(host)
}

/// How many processes there are: the numbered directories under `/proc`.
fn processes() -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count()
}

/// The file system that holds the agent's data.
fn disk(path: &Path) -> std::io::Result<Value> {
    let stat = rustix::fs::statvfs(path)?;
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let inodes_used = stat.f_files.saturating_sub(stat.f_ffree);
    Ok(json!({
        "path": path.display().to_string(),
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": percent(used, used.saturating_add(free)),
        "inodesTotal": stat.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": stat.f_ffree,
        "inodesUsedPercent": percent(inodes_used, stat.f_files),
    }))
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cpus, host_info, memory, percent};

    #[test]
    fn memory_in_bytes() {
        let text = "MemTotal:  1000 kB\nMemFree: 400 kB\nBuffers: 100 kB\nCached: 200 kB\nSReclaimable: 50 kB\n\
                    HugePages_Total:   3\nnonsense\n";
        let value = memory(text);
        assert_eq!(value["total"], json!(1_024_000));
        assert_eq!(value["cached"], json!(256_000));
        assert_eq!(value["used"], json!(256_000));
        assert_eq!(value["usedPercent"], json!(25.0));
        assert_eq!(value["hugepagestotal"], json!(3));
        assert_eq!(memory("")["total"], json!(0));
    }

    #[test]
    fn processors() {
        let text = "processor : 0\nvendor_id : V\ncpu MHz : 2300.5\ncache size : 260 KB\nflags : a b\n\n\
                    processor : 1\nvendor_id : V\n\n";
        let value = cpus(text);
        assert_eq!(value.as_array().unwrap().len(), 2);
        assert_eq!(value[0]["mhz"], json!(2300.5));
        assert_eq!(value[0]["cacheSize"], json!(260));
        assert_eq!(value[0]["flags"], json!(["a", "b"]));
        assert_eq!(value[1]["cpu"], json!(1));
        assert_eq!(cpus(""), json!([]));
    }

    #[test]
    fn the_hosts_names() {
        let value = host_info("ID=debian\nVERSION_ID=\"12.1\"\n", "cpu 1\nbtime 17\n", "99.5 12.0\n");
        assert_eq!(value["platform"], json!("debian"));
        assert_eq!(value["platformFamily"], json!("debian"));
        assert_eq!(value["platformVersion"], json!("12.1"));
        assert_eq!((&value["bootTime"], &value["uptime"]), (&json!(17), &json!(99)));
    }

    #[test]
    fn percentages() {
        assert_eq!(percent(1, 4), 25.0);
        assert_eq!(percent(1, 0), 0.0);
    }
}
