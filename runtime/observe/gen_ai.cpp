// Spans of models, tools and agents, named as the conventions want it: `{operation} {what}`.
#include "runtime/observe/gen_ai.hpp"

#include "runtime/conversation/conversation.hpp"

namespace kflow::observe {
namespace {

Attribute text(std::string name, std::string_view value) {
  return {std::move(name), std::string(value), std::nullopt};
}
Attribute number(std::string name, int64_t value) { return {std::move(name), "", value}; }

const ir::StepNode* step_at(const ir::Program& program, const machine::Event& event) {
  return event.node ? std::get_if<ir::StepNode>(&program[event.node].data) : nullptr;
}

void describe(Span& span, std::string_view operation, std::string_view what) {
  span.name = std::string(operation) + " " + std::string(what);
  span.attributes.push_back(text("gen_ai.operation.name", operation));
}

void describe_model(Span& span, const ir::Model& model) {
  span.attributes.push_back(text("gen_ai.provider.name", provider_name(model.provider)));
  span.attributes.push_back(text("gen_ai.request.model", model.id));
  if (model.max_output_tokens)
    span.attributes.push_back(number("gen_ai.request.max_tokens", *model.max_output_tokens));
  if (model.seed) span.attributes.push_back(number("gen_ai.request.seed", *model.seed));
}

}  // namespace

bool is_model_call(const ir::Program& program, const machine::Event& event) {
  const ir::StepNode* step = step_at(program, event);
  return step != nullptr && step->call.kind == ir::CalleeKind::model;
}

std::string_view provider_name(std::string_view provider) {
  if (provider == "openai_chat") return "openai";
  if (provider == "gemini") return "gcp.gemini";
  return provider;
}

const ir::Model& model_of(const ir::Program& program, const ir::StepNode& step) {
  return program[program[step.call.callable].agent.model];
}

void describe_begin(Span& span, const ir::Program& program, const ir::StepNode& step,
                    bool by_model) {
  switch (step.call.kind) {
    case ir::CalleeKind::model: {
      const ir::Model& model = model_of(program, step);
      describe(span, "chat", model.id);
      span.client = true;
      return describe_model(span, model);
    }
    case ir::CalleeKind::agent:
    case ir::CalleeKind::team:
      describe(span, "invoke_agent", step.call.name);
      span.attributes.push_back(text("gen_ai.agent.name", step.call.name));
      return describe_model(span, model_of(program, step));
    default:
      if (!by_model) return;
      describe(span, "execute_tool", step.call.name);
      span.attributes.push_back(text("gen_ai.tool.name", step.call.name));
      span.attributes.push_back(text("gen_ai.tool.type", "function"));
  }
}

void describe_answer(Span& span, const cel::Value& value) {
  const auto answer = conversation::answer_from(value);
  if (!answer) return;
  if (!answer->model.empty())
    span.attributes.push_back(text("gen_ai.response.model", answer->model));
  if (!answer->response_id.empty())
    span.attributes.push_back(text("gen_ai.response.id", answer->response_id));
  describe_usage(span, answer->usage.input_tokens, answer->usage.output_tokens);
}

void describe_usage(Span& span, int64_t input_tokens, int64_t output_tokens) {
  span.attributes.push_back(number("gen_ai.usage.input_tokens", input_tokens));
  span.attributes.push_back(number("gen_ai.usage.output_tokens", output_tokens));
}

}  // namespace kflow::observe
