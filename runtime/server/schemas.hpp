// What the answers of the routes look like, as schemas of the OpenAPI document.
#pragma once

#include <string_view>

namespace kflow::server {

inline constexpr std::string_view component_schemas = R"({
"Problem":{"type":"object","description":"RFC 9457","required":["title","status","detail"],"properties":{
  "type":{"type":"string"},"title":{"type":"string"},"status":{"type":"integer"},"detail":{"type":"string"},
  "errors":{"type":"array","items":{"type":"object","required":["path","message"],"properties":{"path":{"type":"string"},"message":{"type":"string"}}}}}},
"Status":{"type":"string","enum":["PENDING","RUNNING","PAUSED","COMPLETED","CANCELLED","ERROR"]},
"Empty":{"type":"object"},
"Started":{"type":"object","required":["run_id","session_id","status"],"properties":{
  "run_id":{"type":"string"},"session_id":{"type":"string"},"status":{"$ref":"#/components/schemas/Status"}}},
"RunRow":{"type":"object","required":["run_id","workflow_id","status","created_at"],"properties":{
  "run_id":{"type":"string"},"workflow_id":{"type":"string"},"workflow_name":{"type":"string"},"version":{"type":"string"},
  "session_id":{"type":"string"},"user_id":{"type":["string","null"]},"parent_run_id":{"type":["string","null"]},
  "status":{"$ref":"#/components/schemas/Status"},"created_at":{"type":"integer"},"started_at":{"type":["number","null"]},
  "ended_at":{"type":["number","null"]},"error":{"type":["string","null"]},"current_step":{"type":["string","null"]},
  "tags":{"type":"array","items":{"type":"string"}},"usage":{"type":["object","null"]}}},
"RunList":{"type":"object","required":["data","meta"],"properties":{"data":{"type":"array","items":{"$ref":"#/components/schemas/RunRow"}},
  "meta":{"type":"object","required":["limit","next_cursor"],"properties":{"limit":{"type":"integer"},"page":{"type":["integer","null"]},
    "total_count":{"type":"integer"},"total_capped":{"type":"boolean"},"next_cursor":{"type":["string","null"]}}}}},
"Run":{"allOf":[{"$ref":"#/components/schemas/RunRow"},{"type":"object","required":["input","content","step_results","step_requirements","metrics"],"properties":{
  "input":{},"content":{},"content_type":{"type":"string"},"event_count":{"type":"integer"},
  "step_results":{"type":"array","items":{"$ref":"#/components/schemas/Step"}},
  "step_requirements":{"type":"array","items":{"$ref":"#/components/schemas/Requirement"}},
  "paused_step_name":{"type":["string","null"]},"metrics":{"type":"object"},"events":{"type":"array","items":{"type":"object"}}}}]},
"Step":{"type":"object","required":["step_id","status"],"properties":{"step_id":{"type":"string"},"step_name":{"type":"string"},
  "step_label":{"type":"string"},"step_index":{"type":"integer"},"callee":{"type":"string"},"status":{"type":"string"},
  "attempts":{"type":"integer"},"attempt_list":{"type":"array","items":{"type":"object"}},"started_at":{"type":"integer"},
  "ended_at":{"type":["integer","null"]},"input":{},"content":{},"error":{"type":["string","null"]},"cached":{"type":"boolean"},
  "child_run_id":{"type":"string"},"usage":{"type":"object"}}},
"StepList":{"type":"object","required":["data"],"properties":{"data":{"type":"array","items":{"$ref":"#/components/schemas/Step"}}}},
"Requirement":{"type":"object","required":["id","step_id","kind","message"],"properties":{"id":{"type":"string"},"step_id":{"type":"string"},
  "step_name":{"type":"string"},"step_index":{"type":"integer"},"step_type":{"type":"string"},
  "kind":{"type":"string","enum":["confirmation","user_input","output_review","tool_confirmation"]},"message":{"type":"string"},
  "schema":{"type":["object","null"]},"show":{},"step_input":{},"step_output":{},"expires_at":{"type":["integer","null"]},"on_timeout":{},
  "confirmed":{"type":["boolean","null"]},"user_input":{},"edited_output":{},"feedback":{"type":["string","null"]}}},
"WhyList":{"type":"object","required":["data"],"properties":{"data":{"type":"array","items":{"type":"object","required":["text"],
  "properties":{"step_id":{"type":"string"},"what":{"type":"string"},"text":{"type":"string"},"subject":{"type":"string"},"run_id":{"type":"string"},
  "attempt":{"type":"integer"},"since":{"type":["integer","null"]},"due":{"type":["integer","null"]}}}}}},
"WorkflowRow":{"type":"object","required":["id","name","version"],"properties":{"id":{"type":"string"},"name":{"type":"string"},
  "description":{"type":"string"},"version":{"type":"string"},"file":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},
  "schedule":{"type":["string","null"]},"errors":{"type":"integer"},"warnings":{"type":"integer"},"stale":{"type":"boolean"}}},
"WorkflowList":{"type":"array","items":{"$ref":"#/components/schemas/WorkflowRow"}},
"Workflow":{"allOf":[{"$ref":"#/components/schemas/WorkflowRow"},{"type":"object","required":["input_schema","graph"],"properties":{
  "versions":{"type":"array","items":{"type":"string"}},"input_schema":{"type":"object"},"output_schema":{"type":"object"},"graph":{"type":"object"}}}]},
"SourceList":{"type":"array","items":{"type":"object","required":["path"],"properties":{"path":{"type":"string"},
  "workflows":{"type":"array","items":{"type":"string"}},"stale":{"type":"boolean"},"loaded_at":{"type":["integer","null"]},
  "text":{"type":"string"},"diagnostics":{"type":"array","items":{"type":"object"}}}}},
"Session":{"type":"object","required":["session_id","session_name"],"properties":{"session_id":{"type":"string"},"session_name":{"type":"string"},
  "workflow_id":{"type":["string","null"]},"workflow_name":{"type":["string","null"]},"user_id":{"type":["string","null"]},"runs":{"type":"integer"},"created_at":{"type":["integer","null"]},
  "updated_at":{"type":["integer","null"]},"session_state":{}}},
"SessionList":{"type":"object","required":["data","meta"],"properties":{"data":{"type":"array","items":{"$ref":"#/components/schemas/Session"}},"meta":{"type":"object"}}},
"Schedule":{"type":"object","required":["id","workflow_id","cron","enabled"],"properties":{"id":{"type":"string"},"workflow_id":{"type":"string"},
  "cron":{"type":"string"},"tz":{"type":"string"},"input":{"type":"object"},"overlap":{"type":"string"},"catch_up":{"type":"string"},"enabled":{"type":"boolean"},
  "next_at":{"type":["integer","null"]},"last_at":{"type":["integer","null"]},"last_run_id":{"type":["string","null"]},"from_file":{"type":"boolean"}}},
"ScheduleList":{"type":"array","items":{"$ref":"#/components/schemas/Schedule"}},
"SessionInfo":{"type":"object","required":["requires_auth","signed_in"],"properties":{"requires_auth":{"type":"boolean"},"signed_in":{"type":"boolean"},
  "name":{"type":["string","null"]},"user_id":{"type":["string","null"]},"scopes":{"type":"array","items":{"type":"string"}},"version":{"type":"string"}}},
"Health":{"type":"object","required":["status"],"properties":{"status":{"type":"string"}}}
})";

}  // namespace kflow::server
