"""Bars with their spread, as an SVG that reads on light and dark pages. Of the standard library alone: bench/peers loads it by its path."""
import html

BAR, GAP = 18, 6
OURS, OTHER, SHORT, TEXT = "#d97706", "#3b82c4", "#9aa7b4", "#808a94"


def text(at, y, words, anchor="start", weight="normal"):
    return f'<text x="{at:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(words)}</text>'


def bar(left, y, end, color):
    return f'<rect x="{left}" y="{y}" width="{end - left:.1f}" height="{BAR}" rx="2" fill="{color}"/>'


def spread(least, y, most):
    """A line over the bar at y."""
    return f'<path d="M{least:.1f} {y + BAR / 2}H{most:.1f}" stroke="{TEXT}" stroke-width="2"/>'


def rule(at, top, bottom):
    return f'<path d="M{at:.1f} {top}V{bottom}" stroke="{TEXT}" stroke-opacity="0.3"/>'


def page(parts, width, height, label):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}" role="img" '
            f'aria-label="{html.escape(label)}">\n' + "\n".join(parts) + "\n</svg>\n")
