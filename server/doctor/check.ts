/**
 * Runs the doctor's checks at once, each with a deadline.
 *
 * Guarantees: a run ends within the deadline, whatever hangs, and no failing check fails the run. Any number of callers share one run, and
 * for a moment also its report, so that the work of a node is bounded (G12).
 */

export type Severity = "ok" | "warning" | "error";

/** What a check found. It contains no secret. */
export interface Finding {
  status: Severity;
  /** One sentence or two. */
  message: string;
  /** What the operator does about it; absent if there is nothing to do. */
  action?: string;
}

/** A finding about a part of a check's subject. */
export interface Part extends Finding {
  /** Added to the check's id after a dot. */
  part?: string;
  /** Replaces the check's name. */
  name?: string;
}

export interface Check {
  /** Stable, for programs: words with dots between them. */
  id: string;
  /** The subject, for people. */
  name: string;
  /** `signal` is aborted at the deadline. */
  run(signal: AbortSignal): Promise<Part | readonly Part[]>;
}

export interface CheckResult extends Finding {
  id: string;
  name: string;
}

export interface Report {
  /** The worst of all checks. */
  status: Severity;
  /** When the run began. */
  checkedAt: Date;
  /** The node that checked. */
  node: string;
  checks: CheckResult[];
}

export const ok = (message: string): Finding => ({ status: "ok", message });
export const warning = (message: string, action: string): Finding => ({ status: "warning", message, action });
export const error = (message: string, action: string): Finding => ({ status: "error", message, action });

/** 8 s, because a person waits for the answer, and a provider that takes longer for a token is as good as down. */
const deadlineMs = 8_000;

/** 5 s, because a page may ask again and again, and each run makes calls to providers. */
const keptMs = 5_000;

export interface DoctorOptions {
  node: () => string;
  checks: readonly Check[];
  /** Called for a check that threw. */
  onError: (id: string, error: unknown) => void;
  deadlineMs?: number;
  /** A monotonic clock. */
  nowMs?: () => number;
}

export interface Doctor {
  /** Runs the checks; joins the run of another caller, or returns its report if that is less than 5 s old. Never rejects. */
  examine(): Promise<Report>;
}

export function createDoctor({ nowMs = () => performance.now(), ...options }: DoctorOptions): Doctor {
  let shared: { report: Promise<Report>; endedMs: number } | undefined;
  return {
    examine() {
      if (shared && nowMs() - shared.endedMs < keptMs) return shared.report;
      const run = { report: examine(options), endedMs: Number.POSITIVE_INFINITY };
      shared = run;
      void run.report.then(() => {
        run.endedMs = nowMs();
      });
      return run.report;
    },
  };
}

const ranks: readonly Severity[] = ["ok", "warning", "error"];

async function examine(options: Omit<DoctorOptions, "nowMs">): Promise<Report> {
  const checkedAt = new Date();
  const results = await Promise.all(options.checks.map((check) => resultsOf(check, options)));
  const checks = results.flat();
  const status = ranks[Math.max(0, ...checks.map((one) => ranks.indexOf(one.status)))] ?? "ok";
  return { status, checkedAt, node: options.node(), checks };
}

async function resultsOf(check: Check, options: Omit<DoctorOptions, "nowMs">): Promise<CheckResult[]> {
  const { id, name } = check;
  const found = await runInTime(check, options);
  return [found]
    .flat()
    .map(({ part, ...finding }) => ({ id: part === undefined ? id : `${id}.${part}`, name, ...finding }));
}

async function runInTime(
  { id, run }: Check,
  { onError, deadlineMs: ms = deadlineMs }: Omit<DoctorOptions, "nowMs">,
): Promise<Part | readonly Part[]> {
  const stop = new AbortController();
  const late = Promise.withResolvers<Finding>();
  const timer = setTimeout(() => {
    stop.abort(new DOMException("the check exceeded its deadline", "TimeoutError"));
    late.resolve(
      error(
        `No answer within ${ms / 1_000} s.`,
        "Look whether the server is reachable from this node, and overloaded.",
      ),
    );
  }, ms);
  try {
    return await Promise.race([run(stop.signal), late.promise]);
  } catch (cause) {
    onError(id, cause);
    return error("The check itself failed.", "Read the log event doctor.check.failed of this node.");
  } finally {
    clearTimeout(timer);
  }
}
