// The tests in a browser: one after another, with time for a busy machine.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [process.env.KFLOW_MEASURE ? "browser/**/*.measure.ts" : "browser/**/*.test.ts"],
    testTimeout: 90_000,
    hookTimeout: 90_000,
    fileParallelism: false,
    pool: "threads",
  },
});
