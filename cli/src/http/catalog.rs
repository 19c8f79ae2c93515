//! `/v1/catalog/…`: what is registered. Reads take one version of the catalog and show it; writes become one command.

use std::sync::Arc;

use usher_cluster::catalog::{Instance, NodeEntry, ServiceEntry, Topic, model::Node};

use super::{
    context::{Cx, Needed},
    query,
    reply::{Failure, Reply},
    selectors, views,
};
use crate::filter::Filter;

/// `GET /v1/catalog/datacenters`: every datacenter known, nearest first.
pub(super) async fn datacenters(cx: Cx) -> Result<Reply, Failure> {
    let reply = Reply::json(&cx.api.agent.router().datacenters())?;
    Ok(if cx.params.has("cached") { reply.with_header("x-cache", "HIT").with_header("age", "0") } else { reply })
}

/// `GET /v1/catalog/nodes`. `?near=` is accepted; the order by round-trip time needs coordinates, which are not kept
/// yet, and an unknown distance keeps the order as it is.
pub(super) async fn nodes(cx: Cx) -> Result<Reply, Failure> {
    let filter = cx.filter_of_read(selectors::NODE)?;
    let (mut nodes, meta) = query::read(&cx, Topic::Nodes, |state| state.nodes()).await?;
    let wanted = cx.params.node_meta();
    nodes.retain(|node| has_meta(node, &wanted));
    filter.retain(&mut nodes, |node| node);
    cx.visible(&mut nodes, |node| Needed::node(&node.name));
    let views: Vec<_> = nodes.iter().map(|node| views::NodeView::from(&**node)).collect();
    Ok(Reply::json(&views)?.with_meta(meta.uncached()))
}

/// `GET /v1/catalog/services`: names and tags.
pub(super) async fn services(cx: Cx) -> Result<Reply, Failure> {
    let wanted = cx.params.node_meta();
    let topic = if wanted.is_empty() { Topic::Services } else { Topic::ServicesByNodeMeta };
    let (mut services, meta) = query::read(&cx, topic, |state| state.services(&wanted)).await?;
    cx.visible(&mut services, |(name, _)| Needed::service(name));
    Ok(Reply::json(&views::ServicesView(&services))?.with_meta(meta))
}

/// `GET /v1/catalog/service/:service`.
pub(super) async fn service(cx: Cx) -> Result<Reply, Failure> {
    let name: Arc<str> = cx.name("Missing service name")?.into();
    let filter = cx.filter_of_read(selectors::SERVICE_NODE)?;
    let (entry, meta) = query::read(&cx, Topic::Service(Arc::clone(&name)), |state| state.service(&name)).await?;
    let instances = instances(&cx, entry.as_deref(), &filter);
    let views: Vec<_> = instances.iter().map(|instance| views::ServiceNodeView::from(&***instance)).collect();
    Ok(Reply::json(&views)?.with_meta(meta))
}

/// Those instances that carry every `?tag=`, whose node carries every `?node-meta=`, that the filter keeps and that the
/// caller may read.
pub(super) fn instances<'a>(
    cx: &Cx,
    entry: Option<&'a ServiceEntry>,
    filter: &Filter<Instance>,
) -> Vec<&'a Arc<Instance>> {
    let tags: Vec<&str> = cx.params.all("tag").collect();
    let wanted = cx.params.node_meta();
    let mut instances: Vec<_> = entry
        .map(|entry| entry.instances.as_slice())
        .unwrap_or_default()
        .iter()
        .filter(|instance| tags.iter().all(|tag| has_tag(&instance.service.tags, tag)))
        .filter(|instance| has_meta(&instance.node, &wanted) && filter.keeps(instance))
        .collect();
    cx.visible(&mut instances, |instance| Needed::instance(&instance.node.name, &instance.service.name));
    instances
}

/// `GET /v1/catalog/node/:node`: the node and its instances by id, `null` for an unknown one.
pub(super) async fn node(cx: Cx) -> Result<Reply, Failure> {
    let filter = cx.filter_of_read(selectors::SERVICE)?;
    let (entry, meta) = node_entry(&cx).await?;
    let Some(entry) = entry else { return Ok(Reply::json(&())?.with_meta(meta)) };
    let mut services: Vec<_> = entry.services.iter().cloned().collect();
    filter.retain(&mut services, |service| service);
    cx.visible(&mut services, |service| Needed::service(&service.name));
    Ok(Reply::json(&views::NodeServicesView::new(&entry, &services))?.with_meta(meta))
}

/// `GET /v1/catalog/node-services/:node`: the same as a list.
pub(super) async fn node_services(cx: Cx) -> Result<Reply, Failure> {
    let filter = cx.filter_of_read(selectors::SERVICE)?;
    let (entry, meta) = node_entry(&cx).await?;
    let mut services: Vec<_> = entry.iter().flat_map(|entry| entry.services.iter().cloned()).collect();
    filter.retain(&mut services, |service| service);
    cx.visible(&mut services, |service| Needed::service(&service.name));
    let found = entry.as_deref().map(|entry| (entry, services.as_slice()));
    Ok(Reply::json(&views::NodeServiceListView::new(found))?.with_meta(meta))
}

/// The node the path names, if the caller may read it.
async fn node_entry(cx: &Cx) -> Result<(Option<Arc<NodeEntry>>, super::reply::QueryMeta), Failure> {
    let name: Arc<str> = cx.name("Missing node name")?.into();
    let (entry, meta) =
        query::read(cx, Topic::NodeServices(Arc::clone(&name)), |state| state.node_services(&name)).await?;
    Ok((entry.filter(|entry| cx.may(&Needed::node(&entry.node.name))), meta.uncached()))
}

/// Whether the node carries all pairs.
pub(super) fn has_meta(node: &Node, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, value)| node.meta.get(key) == Some(value))
}

/// Whether the tag is among `tags`, in any case.
fn has_tag(tags: &[String], tag: &str) -> bool {
    if tag.is_ascii() {
        return tags.iter().any(|own| own.eq_ignore_ascii_case(tag));
    }
    let folded = tag.to_lowercase();
    tags.iter().any(|own| own.to_lowercase() == folded)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use usher_cluster::catalog::model::Node;

    use super::{has_meta, has_tag};

    #[test]
    fn tags_in_any_case() {
        let tags = ["V1".to_owned(), "grün".to_owned()];
        assert!(has_tag(&tags, "v1"));
        assert!(has_tag(&tags, "GRÜN"));
        assert!(!has_tag(&tags, "v2"));
        assert!(!has_tag(&tags, ""));
    }

    #[test]
    fn meta_pairs_all() {
        let meta = BTreeMap::from([("rack".to_owned(), "r1".to_owned()), ("os".to_owned(), "linux".to_owned())]);
        let node = Node { meta, ..Node::default() };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert!(has_meta(&node, &[]));
        assert!(has_meta(&node, &[pair("rack", "r1"), pair("os", "linux")]));
        assert!(!has_meta(&node, &[pair("rack", "r1"), pair("os", "bsd")]));
        assert!(!has_meta(&node, &[pair("none", "")]));
    }
}
