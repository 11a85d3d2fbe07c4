// Errors of the store as a step sees them.
#pragma once

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

/// `limit` of kind and code `no_space` or `file_size`; else `internal`.
ActivityError store_error(const Error& error);
/// The same, of a file that is known by name.
ActivityError store_error(const Error& error, const cel::File& file);

}  // namespace kflow::activities
