/** How the doctor runs its checks. */
import { describe, expect, it } from "vitest";
import { type Check, createDoctor, ok, warning } from "../../server/doctor/check.ts";

const never = (): Promise<never> => new Promise(() => undefined);

function open(checks: readonly Check[], deadlineMs = 20) {
  const errors: string[] = [];
  const clock = { nowMs: 0 };
  const doctor = createDoctor({
    node: () => "hub-1:3000",
    checks,
    onError: (id) => errors.push(id),
    deadlineMs,
    nowMs: () => clock.nowMs,
  });
  return { doctor, errors, clock };
}

describe("a run of the doctor", () => {
  it("has the worst status, and ends although a check hangs and another one throws (G12)", async () => {
    let isAborted = false;
    const { doctor, errors } = open([
      { id: "fine", name: "Fine", run: async () => ok("Fine.") },
      {
        id: "hung",
        name: "Hung",
        run(signal) {
          signal.addEventListener("abort", () => {
            isAborted = true;
          });
          return never();
        },
      },
      {
        id: "broken",
        name: "Broken",
        run: async () => {
          throw new Error("a secret");
        },
      },
    ]);
    const { status, node, checks } = await doctor.examine();
    expect({ status, node, isAborted, errors }).toEqual({
      status: "error",
      node: "hub-1:3000",
      isAborted: true,
      errors: ["broken"],
    });
    expect(checks).toMatchObject([
      { id: "fine", status: "ok" },
      { id: "hung", status: "error", message: "No answer within 0.02 s." },
      { id: "broken", status: "error", message: "The check itself failed." },
    ]);
    expect(JSON.stringify(checks)).not.toContain("a secret");
  });

  it("names the parts of a check", async () => {
    const parts = [ok("It runs."), { part: "clock", name: "Clock", ...warning("It is late.", "Set it.") }];
    const { doctor } = open([{ id: "node", name: "Node", run: async () => parts }]);
    expect(await doctor.examine()).toMatchObject({
      status: "warning",
      checks: [
        { id: "node", name: "Node", status: "ok" },
        { id: "node.clock", name: "Clock", status: "warning", action: "Set it." },
      ],
    });
  });

  it("is shared by all callers at the same time, and its report by those of the next 5 s (G12)", async () => {
    let runs = 0;
    const begun = Promise.withResolvers<void>();
    const { doctor, clock } = open(
      [
        {
          id: "slow",
          name: "Slow",
          async run() {
            runs += 1;
            await begun.promise;
            return ok("Done.");
          },
        },
      ],
      60_000,
    );
    const callers = Array.from({ length: 100 }, () => doctor.examine());
    // However long a run takes, it is the only one.
    clock.nowMs = 100_000;
    callers.push(doctor.examine());
    begun.resolve();
    expect(new Set(await Promise.all(callers)).size).toBe(1);
    clock.nowMs += 4_999;
    await doctor.examine();
    expect(runs).toBe(1);
    clock.nowMs += 1;
    await doctor.examine();
    expect(runs).toBe(2);
  });
});
