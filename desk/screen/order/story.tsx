/** The order's history as a list of sentences, oldest first. */
import type { ReactNode } from "react";
import type { Order } from "../../../merchant-sdk/model.ts";
import { Time } from "../../part/time.tsx";
import { storyOf } from "../../word/story.ts";

export function Story({ answer: { events, payments } }: { answer: Order }): ReactNode {
  const story = storyOf(events, payments);
  return (
    <section className="card" aria-labelledby="story">
      <h2 id="story">What happened</h2>
      <ol className="story">
        {events.map((event, index) => {
          const sentence = story[index];
          return (
            <li key={`${event.epoch ?? 0}.${event.version}`} className={sentence?.tone}>
              <p>{sentence?.text}</p>
              <p className="hint">
                <Time at={event.occurredAt} form="exact" />
                {sentence?.source && ` · ${sentence.source}`}
              </p>
            </li>
          );
        })}
      </ol>
    </section>
  );
}
