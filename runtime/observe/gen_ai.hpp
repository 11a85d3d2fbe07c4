// Attributes of OpenTelemetry's semantic conventions for generative AI: calls of models and tools,
// agents.
#pragma once

#include "runtime/observe/spans.hpp"

namespace kflow::observe {

/// Whether the step is a turn of an agent's model.
bool is_model_call(const ir::Program& program, const machine::Event& event);
/// "openai", "anthropic", "gcp.gemini": the conventions' names.
std::string_view provider_name(std::string_view provider);
/// The model that the agent of a model's call, or of an agent's step, was declared with.
const ir::Model& model_of(const ir::Program& program, const ir::StepNode& step);

/// Name and attributes that a step begins with. `by_model`: a model chose the call.
void describe_begin(Span& span, const ir::Program& program, const ir::StepNode& step,
                    bool by_model);
/// What came of a model's call.
void describe_answer(Span& span, const cel::Value& value);
void describe_usage(Span& span, int64_t input_tokens, int64_t output_tokens);

}  // namespace kflow::observe
