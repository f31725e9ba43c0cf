import { parser } from '@prometheus-io/lezer-promql';
import type { SyntaxNode } from '@lezer/common';

/** A metric, and which of its series are meant. */
export interface Selector {
  readonly text: string;
  readonly name: string;
  /** The labels by which it selects. */
  readonly labels: readonly string[];
}

/** The labels by which series are grouped or matched, and the metrics that must have them. */
export interface Grouping {
  readonly labels: readonly string[];
  readonly selectors: readonly Selector[];
}

const COMPARISONS = ['Eql', 'Neq', 'Gtr', 'Gte', 'Lss', 'Lte'];

/** A query in PromQL, in its parts. */
export class PromQl {
  private readonly top: SyntaxNode;

  /** @throws Error where it is not PromQL */
  constructor(readonly text: string) {
    this.top = parser.parse(text).topNode;
    const wrong = this.nodes(this.top, '⚠')[0];
    if (wrong) throw new Error(`not PromQL at ${wrong.from}: ${text}`);
  }

  get selectors(): Selector[] {
    return this.selectorsIn(this.top);
  }

  get groupings(): Grouping[] {
    return this.nodes(this.top, 'GroupingLabels').map((node) => ({
      labels: this.nodes(node, 'LabelName').map((label) => this.textOf(label)),
      selectors: this.selectorsIn(around(node)),
    }));
  }

  /** What an alert compares with its threshold: it has a value even while all is well. */
  get compared(): PromQl {
    const top = this.top.firstChild;
    const isComparison = COMPARISONS.some((name) => top?.getChild(name));
    return isComparison && top?.firstChild ? new PromQl(this.textOf(top.firstChild)) : this;
  }

  private selectorsIn(scope: SyntaxNode): Selector[] {
    return this.nodes(scope, 'VectorSelector').map((node) => ({
      text: this.textOf(node),
      name: this.nodes(node, 'Identifier').map((name) => this.textOf(name))[0] ?? '',
      labels: this.nodes(node, 'LabelName').map((label) => this.textOf(label)),
    }));
  }

  private nodes(scope: SyntaxNode, name: string): SyntaxNode[] {
    const found: SyntaxNode[] = [];
    scope.cursor().iterate((node) => {
      if (node.name === name || (name === '⚠' && node.type.isError)) found.push(node.node);
    });
    return found;
  }

  private textOf({ from, to }: SyntaxNode): string {
    return this.text.slice(from, to);
  }
}

/** The aggregation or operation whose labels these are. */
function around(grouping: SyntaxNode): SyntaxNode {
  let node = grouping;
  while (node.parent && node.name !== 'AggregateExpr' && node.name !== 'BinaryExpr') node = node.parent;
  return node;
}
