// The runs of the vectors and their expected results, for Node and for browsers.

const TERMS = { args_hex: [], env_hex: [], stdin_hex: "", seed_hex: "00".repeat(32), profile: "plasm.det/v2" };

/** All runs: { name, features, task, expected }. `vectors` and `corpus` read files by name; `unhex` decodes. */
export function runs({ vectors, corpus, unhex }) {
  const { modules, cases } = vectors("determinism"), { entry_module_hex, entry_runs } = vectors("files");
  const exceptions = vectors("exceptions");
  const task = ({ args_hex, env_hex, stdin_file, stdin_hex, seed_hex, limits, module, entry, profile }) => ({
    module, entry, profile, args: args_hex.map(unhex), env: env_hex.map(unhex),
    stdin: stdin_file ? corpus(stdin_file) : unhex(stdin_hex), seed: seed_hex,
    limits: { gas: BigInt(limits.gas), memoryBytes: BigInt(limits.memory_bytes), outputBytes: BigInt(limits.output_bytes) },
  });
  return [
    ...cases.map((each) => ({
      name: each.name,
      features: modules[each.module].features,
      task: task({ ...each, module: corpus(each.module), profile: "plasm.det/v1" }),
      expected: { outcome: each.outcome, gas_used: each.gas_used, stdout: each.stdout.sha256, stderr: each.stderr.sha256 },
    })),
    ...entry_runs.map(({ entry, gas, outcome, gas_used, stdout_hex }) => ({
      name: `entry ${entry} with ${gas} gas`,
      features: [],
      task: task({ ...TERMS, module: unhex(entry_module_hex), entry, limits: { gas, memory_bytes: 1 << 24, output_bytes: 1 << 20 } }),
      expected: { outcome, gas_used: String(gas_used), stdout_hex },
    })),
    ...exceptions.runs.map(({ entry, gas, outcome, gas_used }) => ({
      name: `exceptions: ${entry} with ${gas} gas`,
      features: ["exceptions", "tail-calls"],
      task: task({
        ...TERMS, module: unhex(exceptions.module_hex), entry,
        limits: { gas, memory_bytes: 1 << 24, output_bytes: exceptions.output_bytes },
      }),
      expected: { outcome, gas_used: String(gas_used) },
    })),
  ];
}

/** Run one. Return the differences from the expected result, or, as `refused` or `detail`, why this engine cannot run it. */
export async function attempt({ task, expected }, { execute, BadModuleError, digestAsync, hex }) {
  try {
    const { outcome, detail, gasUsed, stdout, stderr } = execute(task);
    if (outcome === undefined) return { detail };
    const found = {
      outcome, gas_used: String(gasUsed), stdout: await digestAsync(stdout), stderr: await digestAsync(stderr), stdout_hex: hex(stdout),
    };
    const names = Object.keys(expected).filter((name) => JSON.stringify(found[name]) !== JSON.stringify(expected[name]));
    return { differs: names.map((name) => `${name}: ${JSON.stringify(found[name])}, not ${JSON.stringify(expected[name])}`) };
  } catch (error) {
    if (!(error instanceof BadModuleError)) throw error;
    return { refused: error.message };
  }
}
