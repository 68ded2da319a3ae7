#include "common/graph/js_number.h"
#include "common/graph/load_workflow.h"
#include "common/graph/prompt.h"
#include "tests/fuzz/fuzz.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  return {R"({"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":0}},)"
          R"("2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"a%date:yyyy%"}}})",
          R"({"prompt":{"3":{"class_type":"KSampler","inputs":{"seed":1e3,"cfg":7.5,"model":["4",0]}},)"
          R"("4":{"class_type":"X","inputs":{"text":"{a|b} \u00e9 // c"}}},"client_id":"x"})",
          R"({"version":0.4,"last_node_id":3,"last_link_id":2,"nodes":[)"
          R"({"id":1,"type":"EmptyImage","mode":0,"inputs":[],"outputs":[{"name":"IMAGE","type":"IMAGE","links":[1]}],)"
          R"("widgets_values":[8,8,1,0]},{"id":2,"type":"Reroute","mode":0,"inputs":[{"name":"","type":"*","link":1}],)"
          R"("outputs":[{"name":"","type":"*","links":[2]}]},{"id":3,"type":"PreviewImage","mode":4,)"
          R"("inputs":[{"name":"images","type":"IMAGE","link":2}]}],"links":[[1,1,0,2,0,"IMAGE"],[2,2,0,3,0,"*"]],)"
          R"("groups":[],"extra":{}})"};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const atelier::WidgetTable widgets;
  if (const auto loaded = atelier::LoadWorkflow(text, widgets); loaded.ok()) {
    if (const auto prompt = atelier::PromptFromJson(loaded->prompt); prompt.ok())
      atelier::TopologicalOrder(*prompt).status().IgnoreError();
    if (atelier::DumpJsonJs(loaded->prompt).empty()) return 1;
  }
  return 0;
}
