// Sums over time as stacked bars. The same numbers stand in a table for those who do not see the chart, or want them exactly.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../layout/theme";
import { Name } from "./text";
import { PlainTable } from "./table";

export interface Series {
  readonly label: string;
  /** For the height of the bars. */
  readonly values: readonly number[];
  /** As it is written: exact. */
  readonly texts: readonly string[];
  /** All of it, as it is written. */
  readonly total: string;
}

interface ChartProps {
  readonly label: string;
  /** What a place on the x axis is called: a day. */
  readonly places: readonly string[];
  readonly series: readonly Series[];
  /** A value on the y axis. */
  readonly unit: (value: number) => string;
  readonly height?: number;
}

export const COLOURS = 8;
const colour = (index: number): string => `--series-${index % COLOURS}`;

/** A colour of the style sheet as a canvas takes it. */
function resolved(element: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export function Chart({ label, places, series, unit, height = 220 }: ChartProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const unitRef = useRef(unit);
  unitRef.current = unit;

  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const line = resolved(element, "--line");
    const ink = resolved(element, "--muted");
    // The first series is drawn on top of the others, each as high as it and all after it together.
    const stacked = series.map((_, first) =>
      places.map((_, place) => series.slice(first).reduce((sum, one) => sum + (one.values[place] ?? 0), 0)),
    );
    const bars = uPlot.paths.bars?.({ size: [0.8, 48], align: 0 });
    const font = `12px ${getComputedStyle(element).fontFamily}`;
    const options: uPlot.Options = {
      width: Math.max(160, element.clientWidth),
      height,
      legend: { show: false },
      cursor: { points: { show: false }, drag: { x: false, y: false }, y: false },
      padding: [8, 8, 0, 0],
      scales: {
        x: { time: false, range: () => [-0.6, places.length - 0.4] },
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] },
      },
      axes: [
        {
          stroke: ink,
          font,
          size: 28,
          grid: { show: false },
          ticks: { show: false },
          space: 80,
          incrs: [1, 2, 5, 7, 14, 30, 60, 90],
          values: (_, ticks) => ticks.map((tick) => places[tick]?.slice(5) ?? ""),
        },
        {
          stroke: ink,
          font,
          size: 68,
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          values: (_, ticks) => ticks.map((tick) => unitRef.current(tick)),
        },
      ],
      series: [
        {},
        ...series.map((one, index) => ({
          label: one.label,
          fill: resolved(element, colour(index)),
          stroke: resolved(element, colour(index)),
          width: 0,
          points: { show: false },
          ...(bars && { paths: bars }),
        })),
      ],
      hooks: { setCursor: [(plot) => setAt(plot.cursor.idx ?? null)] },
    };
    const plot = new uPlot(options, [places.map((_, index) => index), ...stacked], element);
    const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(160, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [places, series, height, theme.value]);

  return (
    <figure class="chart" aria-label={label}>
      <div ref={frame} class="chart-frame" style={{ minHeight: `${height}px` }} aria-hidden="true" />
      <figcaption>
        <p class="chart-at number">{at === null || places[at] === undefined ? "In all" : places[at]}</p>
        <ul class="legend">
          {series.map((one, index) => (
            <li key={`${index} ${one.label}`}>
              <span class="swatch" style={{ background: `var(${colour(index)})` }} />
              <Name text={one.label} max={60} />
              <b class="number">{at === null ? one.total : (one.texts[at] ?? one.total)}</b>
            </li>
          ))}
        </ul>
        <ChartTable label={label} places={places} series={series} />
      </figcaption>
    </figure>
  );
}

function ChartTable({ label, places, series }: Pick<ChartProps, "label" | "places" | "series">) {
  const [isOpen, setOpen] = useState(false);
  const columns = [
    { id: "place", title: "Day (UTC)", width: "", cell: (index: number) => places[index] },
    ...series.map((one, column) => ({
      id: String(column),
      title: one.label,
      header: <Name text={one.label} max={40} />,
      width: "",
      align: "end" as const,
      cell: (index: number) => one.texts[index],
    })),
  ];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Show as a table</summary>
      {isOpen && <PlainTable label={`${label}, as a table`} columns={columns} rows={places.map((_, index) => index)} id={String} />}
    </details>
  );
}
