// Links that carry a list of values: what stands behind runs once for each. docs/architecture.md "Values and blobs".
#pragma once

#include <set>
#include <string>

#include "common/graph/node.h"

namespace atelier {

/// Declares that a node type's outputs are lists; once, after its inputs. It stands in the schema as a hidden input,
/// "output_lists": so a catalogue carries it, and a program that does not know of it goes on as before.
void DeclareLists(NodeSpec& spec);
inline void DeclareLists(NodeDeclaration& node) { DeclareLists(node.spec); }

/// Thread: any.
bool GivesLists(const NodeSpec& spec);

/// The nodes of a prompt whose outputs are lists: of such types, and what runs once for each element of one. Nodes of
/// unknown types give none. Thread: any.
std::set<std::string> NodesWithLists(const Json& prompt, const Catalog& catalog);

}  // namespace atelier
