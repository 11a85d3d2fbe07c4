// Figures as pictures. Programs are nested, so the layout is too: columns of items, lanes side by
// side, each as wide as it has to be.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/base/xml.hpp"
#include "compiler/graph/figure.hpp"

namespace kflow::graph {
namespace {

// Lengths in pixels.
constexpr double gap = 26;           // between items, with the arrow
constexpr double lane_gap = 28;      // between lanes
constexpr double padding = 18;       // inside frames
constexpr double title_height = 26;  // of frames
constexpr double fan = 22;           // where lines part and meet
constexpr double most_text = 250;    // wider texts are cut
constexpr double margin = 32;
constexpr double back_margin = 26;  // beside what is repeated, for the way back
constexpr double radius = 8;

struct Palette {
  std::string_view fill;
  std::string_view stroke;
  std::string_view text;
};
constexpr Palette palettes[] = {
    {"#f5f3ff", "#7c3aed", "#4c1d95"}, {"#eff6ff", "#2563eb", "#1e3a8a"},
    {"#f0fdfa", "#0f766e", "#134e4a"}, {"#fffbeb", "#d97706", "#78350f"},
    {"#f8fafc", "#64748b", "#1e293b"}, {"#f0fdf4", "#16a34a", "#14532d"},
    {"#ffffff", "#cbd5e1", "#475569"}, {"#dcfce7", "#16a34a", "#14532d"},
    {"#fee2e2", "#dc2626", "#7f1d1d"}, {"#f1f5f9", "#64748b", "#334155"},
    {"#ffffff", "#94a3b8", "#334155"},
};
static_assert(std::size(palettes) == static_cast<size_t>(Tone::none) + 1);
const Palette& palette(Tone tone) { return palettes[static_cast<size_t>(tone)]; }

/// How a text is set.
struct Font {
  double size = 12;
  bool bold = false;
  bool code = false;
};
constexpr Font heading{18, true, false};
constexpr Font name_font{13, true, false};
constexpr Font detail_font{11.5, false, false};
constexpr Font note_font{10.5, false, false};
constexpr Font code_font{11, false, true};

// About how wide a character is in Helvetica and its kin, in ems.
double width_of(char32_t c, const Font& font) {
  if (c > 0x2e80) return 1.0;
  if (font.code) return 0.61;
  double w = 0.56;
  if (c < 128) {
    const char a = static_cast<char>(c);
    const std::string_view narrow = "iljtfIr.,:;'|!()[]{} ";
    if (narrow.find(a) != std::string_view::npos) w = 0.32;
    if (std::string_view("mwMW@%").find(a) != std::string_view::npos) w = 0.88;
    if (a >= 'A' && a <= 'Z' && w < 0.6 && a != 'I') w = 0.69;
  }
  return font.bold ? w * 1.07 : w;
}

// Cuts `text` to the widest that fits, with an ellipsis; gives its width too.
std::pair<std::string, double> fitted(std::string_view text, const Font& font, double most) {
  double width = 0;
  size_t kept = 0;  // bytes that fit with an ellipsis behind them
  for (size_t i = 0; i < text.size();) {
    size_t n = 1;
    while (i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xc0) == 0x80) ++n;
    char32_t c = static_cast<unsigned char>(text[i]);
    if (n > 2) c = 0x3000;  // as wide as they come
    if (n == 2 || (n == 3 && text.substr(i, 2) == "\xe2\x80") || text.substr(i, 2) == "\xe2\x86")
      c = 'n' + 0x100;
    const double w = width_of(c, font) * font.size;
    if (width + w > most) {
      return {std::string(text.substr(0, kept)) + "…", width};
    }
    width += w;
    if (width + font.size <= most) kept = i + n;
    i += n;
  }
  return {std::string(text), width};
}

double width_of(std::string_view text, const Font& font) {
  return fitted(text, font, most_text).second;
}

std::string joined(const std::vector<std::string>& notes) {
  std::string out;
  for (const std::string& n : notes) out += (out.empty() ? "" : " · ") + n;
  return out;
}

struct Size {
  double width = 0;
  double height = 0;
};

Size size_of(const Item& item);

Size size_of(const std::vector<Item>& items) {
  Size out;
  for (const Item& item : items) {
    const Size s = size_of(item);
    out.width = std::max(out.width, s.width);
    out.height += s.height + (out.height > 0 ? gap : 0);
  }
  return out;
}

double label_width(const Lane& lane) {
  return lane.label.empty() ? 0 : width_of(lane.label, code_font) + 16;
}
Size size_of(const Lane& lane) {
  const Size inner = size_of(lane.items);
  const double label = lane.label.empty() ? 0 : 20 + (lane.items.empty() ? 0 : 14);
  return {std::max({inner.width, label_width(lane), 36.0}), inner.height + label};
}

Size lanes_size(const Item& item) {
  Size out;
  for (const Lane& lane : item.lanes) {
    const Size s = size_of(lane);
    out.width += s.width + (out.width > 0 ? lane_gap : 0);
    out.height = std::max(out.height, s.height);
  }
  return out;
}

double frame_title_width(const Item& item) {
  return width_of(item.title, name_font) + 12 + width_of(item.detail, detail_font) + 24;
}

double choice_width(const Item& item) {
  return std::max(64.0, width_of(item.title, code_font) + 40);
}

Size size_of(const Item& item) {
  switch (item.shape) {
    case Shape::box: {
      const std::string notes = joined(item.notes);
      const double text =
          std::max({width_of(item.title, name_font), width_of(item.detail, detail_font),
                    width_of(notes, note_font)});
      return {std::max(130.0, text + 30),
              28.0 + (item.detail.empty() ? 6 : 17) + (notes.empty() ? 0 : 16)};
    }
    case Shape::line:
      return {width_of(item.title, code_font) + 20, 24};
    case Shape::end:
      return {std::max(70.0, width_of(item.title, name_font) + (item.detail.empty() ? 0 : 8) +
                                 width_of(item.detail, code_font) + 32),
              30};
    case Shape::choice: {
      const Size lanes = lanes_size(item);
      return {std::max(choice_width(item), lanes.width), 34 + fan + lanes.height + fan};
    }
    case Shape::together:
    case Shape::repeated:
    case Shape::attempt: {
      const Size lanes = lanes_size(item);
      const double parts = item.lanes.size() > 1 ? 2 * fan : 2 * 14;
      const double back = item.shape == Shape::repeated ? 2 * back_margin : 0;
      return {std::max(frame_title_width(item), lanes.width + back + 2 * padding),
              title_height + parts + lanes.height + 8};
    }
  }
  return {};
}

class Drawing {
 public:
  std::string body;

  // One below the other around `x`; gives where the line goes on.
  double column(const std::vector<Item>& items, double x, double y) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        if (items[i - 1].shape != Shape::end) arrow(x, y, x, y + gap);
        y += gap;
      }
      item(items[i], x, y);
      y += size_of(items[i]).height;
    }
    return y;
  }

  void arrow(double x0, double y0, double x1, double y1) {
    body += fmt::format(
        "<path class=\"w\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" marker-end=\"url(#a)\"/>\n", x0, y0,
        x1, y1 - 1);
  }
  void text(double x, double y, std::string_view content, const Font& font, std::string_view colour,
            std::string_view anchor, double most = most_text) {
    const auto [shown, width] = fitted(content, font, most);
    body += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" fill=\"{}\" "
        "text-anchor=\"{}\"{}{}>{}</text>\n",
        x, y, font.size, colour, anchor, font.bold ? " font-weight=\"600\"" : "",
        font.code ? " class=\"c\"" : "", xml_text(shown));
  }
  void dot(double x, double y, bool end) {
    if (end) {
      body += fmt::format(
          "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"7\" fill=\"none\" stroke=\"#475569\" "
          "stroke-width=\"1.5\"/>",
          x, y);
    }
    body += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"#475569\"/>\n", x, y,
                        end ? 4 : 6);
  }

 private:
  void rect(double x, double y, Size s, double round, const Palette& p, std::string_view more) {
    body += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"{}\" fill=\"{}\" "
        "stroke=\"{}\"{}/>\n",
        x, y, s.width, s.height, round, p.fill, p.stroke, more);
  }

  // From (x0, y0) down, across, down to (x1, y1), with round corners.
  void route(double x0, double y0, double x1, double y1, double middle, bool head, bool dashed) {
    const std::string end = head ? " marker-end=\"url(#a)\"" : "";
    const std::string style = dashed ? " stroke-dasharray=\"4 3\"" : "";
    if (std::abs(x0 - x1) < 1) {
      body += fmt::format("<path class=\"w\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"{}{}/>\n", x0, y0,
                          x1, y1 - (head ? 1 : 0), end, style);
      return;
    }
    const double r =
        std::min({radius, std::abs(x1 - x0) / 2, std::abs(middle - y0), std::abs(y1 - middle)});
    const double s = x1 > x0 ? 1 : -1;
    body += fmt::format(
        "<path class=\"w\" d=\"M{0:.1f} {1:.1f}L{0:.1f} {2:.1f}Q{0:.1f} {3:.1f} {4:.1f} "
        "{3:.1f}L{5:.1f} {3:.1f}Q{6:.1f} {3:.1f} {6:.1f} {7:.1f}L{6:.1f} {8:.1f}\"{9}{10}/>\n",
        x0, y0, middle - r, middle, x0 + s * r, x1 - s * r, x1, middle + r, y1 - (head ? 1 : 0),
        end, style);
  }

  void item(const Item& i, double x, double y) {
    if (!i.doc.empty()) body += "<g><title>" + xml_text(i.doc) + "</title>\n";
    switch (i.shape) {
      case Shape::box:
        box(i, x, y);
        break;
      case Shape::line: {
        const Size s = size_of(i);
        rect(x - s.width / 2, y, s, 5, palette(i.tone), " stroke-dasharray=\"3 2\"");
        text(x, y + 16, i.title, code_font, palette(i.tone).text, "middle");
        break;
      }
      case Shape::end:
        end(i, x, y);
        break;
      case Shape::choice:
        choice(i, x, y);
        break;
      case Shape::together:
      case Shape::repeated:
      case Shape::attempt:
        frame(i, x, y);
        break;
    }
    if (!i.doc.empty()) body += "</g>\n";
  }

  void box(const Item& i, double x, double y) {
    const Size s = size_of(i);
    const Palette& p = palette(i.tone);
    const double left = x - s.width / 2;
    rect(left, y, s, radius, p, " stroke-width=\"1.3\"");
    body += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"4\" height=\"{:.1f}\" rx=\"2\" fill=\"{}\"/>\n",
        left + 5, y + 7, s.height - 14, p.stroke);
    text(x + 3, y + (i.detail.empty() ? 22 : 19), i.title, name_font, p.text, "middle");
    if (!i.detail.empty()) text(x + 3, y + 36, i.detail, detail_font, "#475569", "middle");
    if (!i.notes.empty())
      text(x + 3, y + s.height - 9, joined(i.notes), note_font, "#94620f", "middle");
  }

  void end(const Item& i, double x, double y) {
    const Size s = size_of(i);
    const Palette& p = palette(i.tone);
    rect(x - s.width / 2, y, s, 15, p, " stroke-width=\"1.3\"");
    if (i.detail.empty()) return text(x, y + 20, i.title, name_font, p.text, "middle");
    const double left = x - s.width / 2 + 16;
    text(left, y + 20, i.title, name_font, p.text, "start");
    text(left + width_of(i.title, name_font) + 8, y + 20, i.detail, code_font, p.text, "start");
  }

  void choice(const Item& i, double x, double y) {
    const double w = choice_width(i) / 2;
    body += fmt::format(
        "<path d=\"M{:.1f} {:.1f}h{:.1f}l14 17l-14 17h-{:.1f}l-14 -17z\" fill=\"#fff7ed\" "
        "stroke=\"#ea580c\" stroke-width=\"1.3\"/>\n",
        x - w + 14, y, 2 * w - 28, 2 * w - 28);
    text(x, y + 21, i.title, code_font, "#7c2d12", "middle");
    lanes(i, x, y + 34, fan);
  }

  void frame(const Item& i, double x, double y) {
    const Size s = size_of(i);
    const double left = x - s.width / 2;
    const bool fails = i.shape == Shape::attempt;
    body += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"10\" "
        "fill=\"#0f172a\" fill-opacity=\"0.025\" stroke=\"{}\" stroke-dasharray=\"6 4\"/>\n",
        left, y, s.width, s.height, fails ? "#f87171" : "#94a3b8");
    text(left + 12, y + 18, i.title, name_font, "#334155", "start");
    text(left + 12 + width_of(i.title, name_font) + 10, y + 18, i.detail, detail_font, "#64748b",
         "start");
    const double top = y + title_height;
    if (i.lanes.size() > 1) {
      lanes(i, x, top, fan);
      const bool goes_on = std::any_of(i.lanes.begin(), i.lanes.end(),
                                       [](const Lane& lane) { return !lane.leaves(); });
      if (goes_on)
        body += fmt::format("<path class=\"w\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/>\n", x,
                            y + s.height - 9, y + s.height);
      return;
    }
    // One lane: straight down, and back up beside it where it is repeated.
    const Lane& lane = i.lanes.front();
    arrow(x, top - 4, x, top + 14);
    const double bottom = column(lane.items, x, top + 14);
    const double foot = y + s.height;
    if (i.shape == Shape::repeated && !lane.items.empty()) {
      const double right = x + size_of(lane).width / 2 + back_margin;
      const double middle = top + 4;
      if (!lane.leaves()) {
        body += fmt::format(
            "<path class=\"w\" d=\"M{0:.1f} {1:.1f}v7Q{0:.1f} {2:.1f} {3:.1f} "
            "{2:.1f}H{4:.1f}Q{5:.1f} {2:.1f} {5:.1f} {6:.1f}V{7:.1f}Q{5:.1f} {8:.1f} {4:.1f} "
            "{8:.1f}H{9:.1f}\" stroke-dasharray=\"4 3\" marker-end=\"url(#a)\"/>\n",
            x, bottom, bottom + 12, x + 5, right - radius, right, bottom + 12 - radius,
            middle + radius, middle, x + 2);
      }
    }
    if (!lane.leaves())
      body += fmt::format("<path class=\"w\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/>\n", x, bottom, foot);
  }

  void lanes(const Item& i, double x, double top, double spread) {
    const Size all = lanes_size(i);
    const double first = top + spread;
    const double foot = first + all.height + fan;
    double left = x - all.width / 2;
    for (size_t n = 0; n < i.lanes.size(); ++n) {
      const Lane& lane = i.lanes[n];
      const Size s = size_of(lane);
      const double middle = left + s.width / 2;
      const bool dashed = i.shape == Shape::attempt && n > 0;
      const bool straight_in = lane.label.empty() && !lane.items.empty();
      route(x, top - (i.shape == Shape::choice ? 0 : 4), middle, first, top + spread / 2,
            straight_in, dashed);
      double y = first;
      if (!lane.label.empty()) {
        const double w = label_width(lane);
        body += fmt::format(
            "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"20\" rx=\"10\" "
            "fill=\"#ffffff\" stroke=\"#cbd5e1\"/>\n",
            middle - w / 2, y, w);
        text(middle, y + 14, lane.label, code_font, "#475569", "middle");
        y += 20;
        if (!lane.items.empty()) arrow(middle, y, middle, y + 14), y += 14;
      }
      y = column(lane.items, middle, y);
      if (!lane.leaves()) route(middle, y, x, foot, foot - spread / 2, false, dashed);
      left += s.width + lane_gap;
    }
  }
};

}  // namespace

std::string svg(const Figure& figure) {
  const Size content = size_of(figure.items);
  const double title = fitted(figure.title, heading, 900).second;
  const double doc = fitted(figure.doc, detail_font, 900).second;
  const double head = margin + 20 + (figure.doc.empty() ? 0 : 18);
  const double width = std::max({content.width, title, doc, 160.0}) + 2 * margin;
  const double x = width / 2;
  Drawing d;
  d.text(margin, margin + 10, figure.title, heading, "#0f172a", "start", 900);
  if (!figure.doc.empty())
    d.text(margin, margin + 30, figure.doc, detail_font, "#64748b", "start", 900);
  double y = head + 18;
  d.dot(x, y, false);
  if (!figure.items.empty()) d.arrow(x, y + 6, x, y + gap);
  y = d.column(figure.items, x, y + gap);
  const bool open = figure.items.empty() || figure.items.back().shape != Shape::end;
  if (open) {
    d.arrow(x, y, x, y + gap - 7);
    y += gap;
    d.dot(x, y, true);
    y += 7;
  }
  const double height = y + margin;
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
             "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"Inter, Helvetica, Arial, "
             "sans-serif\">\n"
             "<title>{2}</title>\n"
             "<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" "
             "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0.5L8 4L0 7.5z\" "
             "fill=\"#64748b\"/></marker>\n"
             "<style>.w{{fill:none;stroke:#64748b;stroke-width:1.4}}"
             ".c{{font-family:ui-monospace,Menlo,\"DejaVu Sans Mono\",monospace}}</style></defs>\n"
             "<rect width=\"100%\" height=\"100%\" rx=\"12\" fill=\"#ffffff\"/>\n",
             width, height, xml_text(figure.title)) +
         d.body + "</svg>\n";
}

}  // namespace kflow::graph
