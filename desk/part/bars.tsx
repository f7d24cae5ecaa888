/** A small bar chart. Assistive technology reads its sentence; the bars are for the eye. */
import type { ReactNode } from "react";

export interface Bar {
  value: number;
  /** The bar's name and its value as a text, such as `10:00: KES 1,450.00`. */
  title: string;
  /** The bar of the time that still goes on. */
  isNow?: boolean;
}

const [width, height] = [24, 72];

export interface BarsProps {
  sentence: string;
  bars: readonly Bar[];
  /** Texts below the bars, at equal distances. */
  marks: readonly string[];
}

export function Bars({ sentence, bars, marks }: BarsProps): ReactNode {
  const top = Math.max(1, ...bars.map(({ value }) => value));
  return (
    <div className="bars">
      <svg viewBox={`0 0 ${bars.length * width} ${height}`} preserveAspectRatio="none" role="img" aria-label={sentence}>
        {bars.map(({ value, title, isNow }, index) => {
          const size = value === 0 ? 0 : Math.max(2, (value / top) * height);
          const x = index * width;
          return (
            <g key={title}>
              <title>{title}</title>
              <rect className="bar-room" x={x} y="0" width={width} height={height} />
              <rect className={isNow ? "bar now" : "bar"} x={x + 3} y={height - size} width={width - 6} height={size} />
            </g>
          );
        })}
      </svg>
      <p aria-hidden="true">
        {marks.map((mark) => (
          <span key={mark}>{mark}</span>
        ))}
      </p>
    </div>
  );
}
