// A table of any length: only the rows in view are in the page, and more are asked for as somebody scrolls.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ErrorNote, Loading } from "./state";
import type { ApiError } from "../api/client";

export interface Column<Row> {
  readonly id: string;
  readonly title: string;
  /** What stands in the header instead of the title; the title is then for those who do not see it. */
  readonly header?: ComponentChildren;
  readonly cell: (row: Row) => ComponentChildren;
  /** As `grid-template-columns` takes it: `minmax(8rem, 1fr)`. */
  readonly width: string;
  readonly align?: "end";
  /** The word to sort by. */
  readonly sort?: string;
  /** Left out on a phone. */
  readonly isMinor?: boolean;
}

export interface Order {
  readonly by: string;
  readonly ascending: boolean;
}

interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly id: (row: Row) => string;
  /** Every row is so high; what does not fit is cut. */
  readonly rowHeight?: number;
  /** Height of the part that scrolls; the table is lower if it has few rows. */
  readonly height?: string;
  readonly order?: Order;
  readonly onOrder?: (order: Order) => void;
  /** Whether there are more rows than these. */
  readonly more?: boolean;
  /** Asks for more, once they are needed. */
  readonly onMore?: () => void;
  /** Tells which rows are in view. */
  readonly onView?: (first: number, last: number) => void;
  readonly isLoading?: boolean;
  readonly error?: ApiError | null;
  readonly onRetry?: () => void;
  readonly empty: ComponentChildren;
  readonly isSelected?: (row: Row) => boolean;
}

/** Rows that are kept ready above and below those in view. */
const SPARE = 8;

export function Table<Row>(props: TableProps<Row>) {
  const { columns, rows, rowHeight = 44, order, more = false, onMore, onView } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const measure = useCallback(() => {
    const element = scroller.current;
    if (element) setView({ top: element.scrollTop, height: element.clientHeight });
  }, []);
  useLayoutEffect(() => {
    measure();
    const element = scroller.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [measure]);

  const first = Math.max(0, Math.floor(view.top / rowHeight) - SPARE);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / rowHeight) + SPARE);
  // While something is loaded nothing else is, so that what was wanted meanwhile is asked for after it. What failed is not asked for again.
  const isFree = props.isLoading !== true && !props.error;
  useEffect(() => {
    onView?.(first, last);
    if (more && onMore && isFree && last >= rows.length - SPARE * 2) onMore();
  }, [first, last, more, rows.length, isFree, onMore, onView]);

  const template = columns.map((column) => column.width).join(" ");
  const templatePhone = columns.filter((column) => !column.isMinor).map((column) => column.width.replace(/minmax\([^,]+/, "minmax(0")).join(" ");
  const vars = { "--columns": template, "--columns-phone": templatePhone, "--row": `${rowHeight}px` } as Record<string, string>;
  const isEmpty = rows.length === 0;
  return (
    <div class="table-frame">
      {props.error && <ErrorNote error={props.error} onRetry={props.onRetry} />}
      <div
        ref={scroller}
        class="table"
        role="table"
        aria-label={props.label}
        aria-rowcount={more ? -1 : rows.length + 1}
        aria-busy={props.isLoading ?? false}
        tabIndex={0}
        style={{ ...vars, maxHeight: props.height ?? "70vh" }}
        onScroll={measure}
      >
        <div role="rowgroup" class="table-head">
          <div role="row" class="table-row" aria-rowindex={1}>
            {columns.map((column) => (
              <Header key={column.id} column={column} order={order} onOrder={props.onOrder} />
            ))}
          </div>
        </div>
        <div role="rowgroup" class="table-body" style={{ height: `${rows.length * rowHeight}px` }}>
          {rows.slice(first, last).map((row, index) => (
            <div
              key={props.id(row)}
              role="row"
              class={props.isSelected?.(row) ? "table-row selected" : "table-row"}
              aria-rowindex={first + index + 2}
              style={{ transform: `translateY(${(first + index) * rowHeight}px)` }}
            >
              {columns.map((column) => (
                <div key={column.id} role="cell" class={cellClass(column)}>
                  {column.cell(row)}
                </div>
              ))}
            </div>
          ))}
        </div>
      </div>
      {isEmpty && !props.isLoading && !props.error && props.empty}
      {isEmpty && props.isLoading && <Loading />}
    </div>
  );
}

function cellClass<Row>(column: Column<Row>): string {
  return `cell${column.align === "end" ? " end number" : ""}${column.isMinor ? " minor" : ""}`;
}

interface HeaderProps<Row> {
  readonly column: Column<Row>;
  readonly order: Order | undefined;
  readonly onOrder: ((order: Order) => void) | undefined;
}

function Header<Row>({ column, order, onOrder }: HeaderProps<Row>) {
  const { sort, title } = column;
  const isBy = sort !== undefined && order?.by === sort;
  const aria = isBy ? { "aria-sort": order?.ascending ? ("ascending" as const) : ("descending" as const) } : {};
  return (
    <div role="columnheader" class={cellClass(column)} {...aria}>
      {sort !== undefined && onOrder ? (
        <button type="button" class="sort" onClick={() => onOrder({ by: sort, ascending: isBy ? !order?.ascending : false })}>
          {title}
          <span aria-hidden="true">{isBy ? (order?.ascending ? " ↑" : " ↓") : " ↕"}</span>
        </button>
      ) : (
        (column.header ?? title)
      )}
    </div>
  );
}

/** A small table that is in the page as a whole. */
export function PlainTable<Row>({ label, columns, rows, id }: Pick<TableProps<Row>, "label" | "columns" | "rows" | "id">) {
  return (
    <div class="plain-table" role="group" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.id} scope="col" class={cellClass(column)}>
                {column.header ?? column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((column) => (
                <td key={column.id} class={cellClass(column)}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
