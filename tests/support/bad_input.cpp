// Malformed inputs that several readers share, and the runs of all cases.
#include "tests/support/bad_input.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

extern char** environ;

namespace quarry::testing {
namespace {

namespace fs = std::filesystem;

struct Result {
  int code = -1;
  std::string err;
};

/// `quarry mine` over two users and three items, with any flag replaced.
class Program {
 public:
  Program() {
    const char* program = std::getenv("QUARRY_PROGRAM");
    program_ = program != nullptr ? program : "";
    const std::vector<float> users = {1, 2, 3, 4}, items = {1, 0, 0, 1, 1, 1};
    flags_["--users"] =
        dir_.write("users.npy", padded_npy("<f4", "(2, 2)", bytes_of_values(users)));
    flags_["--items"] =
        dir_.write("items.npy", padded_npy("<f4", "(3, 2)", bytes_of_values(items)));
    flags_["--events"] =
        dir_.write("good_events.csv", "user,item,time,kind,value\n0,0,5,rate,5\n1,1,6,rate,4\n");
    flags_["--recipe"] = dir_.write("recipe.toml", R"(k = 1
metric = "ip"
[exposure]
positive = ["rate>=4"]
[safety]
filters = [{ kind = "positives" }]
[[branch]]
name = "random"
share = 1.0
source = { kind = "uniform" }
)");
    flags_["--threads"] = "1";
    flags_["--device"] = "cpu";
    flags_["--out"] = dir_.path_of("set");
  }

  bool exists() const { return !program_.empty() && fs::exists(program_); }

  Result mine(const Flags& changes) const {
    Flags flags = changes;
    flags.insert(flags_.begin(), flags_.end());
    std::vector<std::string> words = {program_, "mine"};
    for (const auto& [flag, value] : flags) {
      words.push_back(flag);
      words.push_back(value);
    }
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    // Threads of a BLAS that has nothing to multiply are most of the start.
    ::setenv("OPENBLAS_NUM_THREADS", "1", 1);
    const std::string err = dir_.path_of("stderr");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                       0600);
    pid_t child = -1;
    const int error =
        ::posix_spawn(&child, program_.c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    Result result;
    int status = 0;
    if (error == 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status))
      result.code = WEXITSTATUS(status);
    result.err = read_bytes(err);
    return result;
  }

  /// Names of what a run left behind at --out or beside it.
  std::string leftovers() const {
    std::string names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename().string();
      if (name.rfind("set", 0) == 0 || name.find(".partial-") != std::string::npos)
        names += name + " ";
    }
    return names;
  }

  void remove_set() const { fs::remove_all(dir_.path_of("set")); }

 private:
  TempDir dir_;
  std::string program_;
  Flags flags_;
};

/// Makes what the case says and returns its path.
std::string make(const TempDir& dir, const BadInputCase& c) {
  const std::string path = dir.path_of(c.file);
  fs::remove_all(path);
  switch (c.place) {
    case Place::kFile:
      return dir.write(c.file, c.content);
    case Place::kDirectory:
      fs::create_directory(path);
      return path;
    case Place::kNothing:
      return path;
    case Place::kLinkLoop:
      fs::create_symlink(path, path);
      return path;
    case Place::kBrokenLink:
      fs::create_symlink(dir.path_of("no_such_file"), path);
      return path;
    case Place::kBelowFile:
      return dir.write("a_file", "x") + "/" + c.file;
    case Place::kLongName:
      return dir.path_of(std::string(300, 'n') + c.file);
    case Place::kUnreadable:
      ::chmod(dir.write(c.file, c.content).c_str(), 0);
      return path;
    case Place::kPipe:
      ::mkfifo(path.c_str(), 0600);
      return path;
  }
  return path;
}

void expect_text(const std::string& text, const BadInputCase& c, const std::string& path) {
  EXPECT_GE(c.needles.size(), 2u) << "a case states at least place or value, and remedy";
  EXPECT_NE(text.find(path), std::string::npos) << "no path in: " << text;
  for (std::string needle : c.needles) {
    if (needle.size() > 1 && needle[0] == ':' && needle[1] >= '0' && needle[1] <= '9') {
      needle = path + needle + ": ";
    }
    EXPECT_NE(text.find(needle), std::string::npos) << "no \"" << needle << "\" in: " << text;
  }
}

void expect_error_of_reader(const BadInputSuite& suite, const BadInputCase& c,
                            const std::string& path) {
  int code = 0;
  std::string text;
  try {
    suite.read(path, c.flags);
  } catch (const ConfigError& error) {
    code = 2, text = error.what();
  } catch (const InputError& error) {
    code = 3, text = error.what();
  } catch (const IoError& error) {
    code = 5, text = error.what();
  } catch (const std::exception& error) {
    code = 1, text = error.what();
  }
  EXPECT_EQ(code, c.code) << "the reader" << (code == 0 ? " accepted it" : ": ") << text;
  if (code != 0) expect_text(text, c, path);
}

Flags flags_of(const BadInputSuite& suite, const Flags& more, const std::string& path) {
  Flags flags = more;
  flags[suite.flag] = suite.before + path + suite.behind;
  return flags;
}

/// File names as `with` writes them: fields of `row` with one replaced.
std::string joined(const std::vector<std::string>& fields, char separator) {
  std::string line;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) line += separator;
    line += fields[i];
  }
  return line;
}

}  // namespace

void expect_refused(const BadInputSuite& suite, const std::vector<BadInputCase>& cases,
                    std::size_t at_least) {
  const TempDir dir;
  const Program program;
  ASSERT_TRUE(program.exists()) << "QUARRY_PROGRAM names the program; ctest sets it";
  for (const auto& [file, content] : suite.good) {
    SCOPED_TRACE("valid " + file);
    const std::string path = dir.write(file, content);
    EXPECT_NO_THROW(suite.read(path, {}));
    const Result result = program.mine(flags_of(suite, {}, path));
    EXPECT_EQ(result.code, 0) << result.err;
    program.remove_set();
  }
  std::size_t count = 0;
  std::set<std::string> seen;
  for (const BadInputCase& c : cases) {
    if (c.place == Place::kUnreadable && ::geteuid() == 0) continue;
    SCOPED_TRACE(suite.name + ": " + c.name);
    std::string same = c.file + '\0' + c.content + '\0' + std::to_string(static_cast<int>(c.place));
    for (const auto& [flag, value] : c.flags) same += '\0' + flag + '\0' + value;
    EXPECT_TRUE(seen.insert(same).second) << "the same input as another case";
    ++count;
    const std::string path = make(dir, c);
    expect_error_of_reader(suite, c, path);
    const Result result = program.mine(flags_of(suite, c.flags, path));
    EXPECT_EQ(result.code, c.code) << "the program: " << result.err;
    expect_text(result.err, c, path);
    EXPECT_EQ(program.leftovers(), "");
    program.remove_set();
  }
  std::printf("bad input: %s: %zu cases\n", suite.name.c_str(), count);
  EXPECT_GE(count, at_least);
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::string SmallTable::header(char separator) const { return joined(columns, separator) + "\n"; }

std::string SmallTable::text(char separator, const std::string& line_end) const {
  std::string all = joined(columns, separator) + line_end;
  for (const auto& row : rows) all += joined(row, separator) + line_end;
  return all;
}

std::string SmallTable::with(std::size_t row, const std::string& column,
                             const std::string& field) const {
  SmallTable changed = *this;
  const auto at = std::find(columns.begin(), columns.end(), column) - columns.begin();
  changed.rows.at(row).at(static_cast<std::size_t>(at)) = field;
  return changed.text();
}

std::vector<BadInputCase> container_cases(const SmallTable& t) {
  const std::string csv = t.stem + ".csv", tsv = t.stem + ".tsv";
  const std::string good = t.text(), header = t.header();
  const std::string first = joined(t.rows[0], ',') + "\n";
  const std::size_t width = t.columns.size();
  const auto nul = [](const std::string& before, const std::string& behind) {
    return before + std::string(1, '\0') + behind;
  };
  /// A further row whose first field is `field`.
  const auto row_of = [&](const std::string& field) {
    std::vector<std::string> fields = t.rows[1];
    fields[0] = field;
    return joined(fields, ',') + "\n";
  };
  const std::string fields_text =
      std::to_string(width + 1) + " fields, the header has " + std::to_string(width);
  std::vector<BadInputCase> cases = {
      {"empty file", csv, "", {":1", "no header", "name the columns"}},
      {"only a byte order mark", csv, "\xEF\xBB\xBF", {":1", "no header", "name the columns"}},
      {"blank first line", csv, "\n" + good, {":1", "no header", "name the columns"}},
      {"CRLF before the header", csv, "\r\n" + good, {":1", "no header", "name the columns"}},
      {"UTF-16, low byte first", csv, std::string("\xFF\xFEu\0", 4), {":1", "UTF-16", "as UTF-8"}},
      {"UTF-16, high byte first", csv, std::string("\xFE\xFF\0u", 4), {":1", "UTF-16", "as UTF-8"}},
      {"UTF-16 without a mark", csv, std::string("u\0s\0,\0", 6), {":1", "NUL", "as UTF-8"}},
      {"gzip bytes", csv, "\x1F\x8B\x08" + good, {":1", "gzip", "gunzip"}},
      {"gzip by its name", t.stem + ".csv.gz", good, {".gz", "not supported", "gunzip"}},
      {"Parquet",
       t.stem + ".parquet",
       "PAR1",
       {".parquet is not read", "quarry convert events|catalogue|rows|pairs ", t.stem + ".csv ("}},
      {"Arrow", t.stem + ".Feather", "ARROW1", {".feather is not read", "quarry convert"}},
      {"no extension", t.stem, good, {"extension ''", ".csv (commas)", "rename"}},
      {"text file", t.stem + ".txt", good, {"'.txt'", ".tsv", "rename"}},
      {"directory", csv, "", {"Is a directory", "check the path"}, 5, {}, Place::kDirectory},
      {"missing", csv, "", {"No such file", "check the path"}, 5, {}, Place::kNothing},
      {"link to itself", csv, "", {"symbolic links", "check the path"}, 5, {}, Place::kLinkLoop},
      {"link to nothing", csv, "", {"No such file", "check the path"}, 5, {}, Place::kBrokenLink},
      {"file as a folder",
       csv,
       "",
       {"Not a directory", "check the path"},
       5,
       {},
       Place::kBelowFile},
      {"too long a name",
       csv,
       "",
       {"File name too long", "check the path"},
       5,
       {},
       Place::kLongName},
      {"no permission", csv, good, {"Permission denied", "permissions"}, 5, {}, Place::kUnreadable},
      {"one field too many in the first row",
       csv,
       header + "x," + first,
       {":2", fields_text, "quote"}},
      {"one field too many after CRLF lines",
       csv,
       t.text(',', "\r\n") + "x," + first,
       {":4", fields_text, "quote"}},
      {"one field too many in a last line without an end",
       csv,
       good + "x," + joined(t.rows[0], ','),
       {":4", fields_text, "quote"}},
      {"one field too many behind blank lines",
       csv,
       header + "\n\n" + "x," + first,
       {":4", fields_text, "quote"}},
      {"one field too many behind a line break in quotes",
       csv,
       joined(t.columns, ',') + ",\"no\nte\"\n" + "x,x," + first,
       {":3", "fields", "quote"}},
      {"separator at the end",
       csv,
       header + joined(t.rows[0], ',') + ",\n",
       {":2", fields_text, "quote"}},
      {"quote opened in the last row", csv, good + "\"" + first, {":4", "not closed", "close it"}},
      {"quote opened in the header", csv, "\"" + header, {":1", "not closed", "close it"}},
      {"text behind a quote", csv, header + row_of("\"x\"y"), {":2", "'y'", "double the quotes"}},
      {"space behind a quote", csv, good + row_of("\"x\" "), {":4", "closing quote", "double"}},
      {"backslash for a quote", csv, good + row_of("\"x\\\"y\""), {":4", "'y'", "double"}},
      {"NUL byte in a row", csv, good + nul("x", first), {":4", "NUL", "as UTF-8"}},
      {"NUL byte in the header", csv, nul("u", good), {":1", "NUL", "as UTF-8"}},
      {"NUL byte in quotes", csv, good + nul("\"x", "\"" + first), {":4", "NUL", "as UTF-8"}},
      {"NUL bytes at the end", csv, good + std::string(512, '\0'), {":4", "NUL", "damaged"}},
      {"old Mac line ends", csv, t.text(',', "\r"), {":1", "carriage return", "LF or CRLF"}},
      {"a lone carriage return in a row",
       csv,
       good + row_of("x\ry"),
       {":4", "carriage return", "LF or CRLF"}},
      {"Latin-1 in a row", csv, good + row_of("caf\xE9"), {":4", "'\\xe9'", "as UTF-8"}},
      {"Latin-1 in the header", csv, "pr\xE9nom," + good, {":1", "'\\xe9'", "as UTF-8"}},
      {"Windows quotes behind a line break",
       csv,
       good + row_of("\"a\n\x93 b\""),
       {":5", "'\\x93'", "as UTF-8"}},
      {"UTF-8 longer than needed", csv, good + row_of("\xC0\x80"), {":4", "'\\xc0'", "as UTF-8"}},
      {"UTF-8 surrogate", csv, good + row_of("\xED\xA0\x80"), {":4", "'\\xed'", "as UTF-8"}},
      {"UTF-8 beyond the last character",
       csv,
       good + row_of("\xF4\x90\x80\x80"),
       {":4", "'\\xf4'", "as UTF-8"}},
      {"UTF-8 cut by the end of the field",
       csv,
       good + row_of("\xE2\x82"),
       {":4", "'\\xe2'", "as UTF-8"}},
      {"column twice", csv, t.columns[0] + "," + good, {":1", "stands twice", "rename"}},
      {"column twice but for its type",
       tsv,
       t.columns[0] + ":token\t" + t.text('\t'),
       {":1", "stands twice", "rename"}},
      {"column without a name", csv, "," + good, {":1", "column 1 of", "name every column"}},
      {"column with only a type",
       tsv,
       ":token\t" + t.text('\t'),
       {":1", "column 1 of", "name every column"}},
      {"very many columns", csv, "c" + repeated(",c", 4096), {":1", "4097", "allowed are 4096"}},
  };
  if (width > 1) {
    const std::string too_few =
        std::to_string(width - 1) + " fields, the header has " + std::to_string(width);
    std::vector<std::string> fewer = t.rows[0];
    fewer.pop_back();
    cases += std::vector<BadInputCase>{
        {"one field too few", csv, good + joined(fewer, ',') + "\n", {":4", too_few, "quote"}},
        {"cut in the last row", csv, good + joined(fewer, ','), {":4", too_few, "quote"}},
        {"commas in a .tsv", tsv, good, {":1", "no column", ".csv for ','"}},
        {"tabs in a .csv", csv, t.text('\t'), {":1", "no column", ".tsv for tabs"}},
        {"semicolons", csv, t.text(';'), {":1", "no column", "another separator"}},
        {"bars", csv, t.text('|'), {":1", "no column", "another separator"}},
    };
  }
  return cases;
}

std::vector<BadInputCase> id_cases(const SmallTable& t, const std::string& column,
                                   const std::string& what) {
  struct Id {
    const char* name;
    std::string field;
    std::string shown;
  };
  const Id ids[] = {
      {"unknown", "9", "'9'"},
      {"with a leading zero", "01", "'01'"},
      {"with a plus", "+1", "'+1'"},
      {"negative", "-1", "'-1'"},
      {"fractional", "1.0", "'1.0'"},
      {"with a space before", " 1", "' 1'"},
      {"with a space behind", "1 ", "'1 '"},
      {"with a tab", "\"1\t\"", "'1\\x09'"},
      {"with a line break", "\"1\n\"", "'1\\x0a'"},
      {"hexadecimal", "0x1", "'0x1'"},
      {"with an exponent", "1e0", "'1e0'"},
      {"2^32 - 1, the mark of empty slots", "4294967295", "'4294967295'"},
      {"2^32, which would wrap to 0", "4294967296", "'4294967296'"},
      {"2^64 + 1, which would wrap to 1", "18446744073709551617", "'18446744073709551617'"},
      {"full-width digit", "\xEF\xBC\x91", "'\xEF\xBC\x91'"},
      {"quoted twice", "\"\"\"1\"\"\"", "'\"1\"'"},
      {"very long", std::string(5000, 'i'), "'" + std::string(60, 'i') + "...'"},
      {"with an escape sequence", "1\x1B[2J", "'1\\x1b[2J'"},
      {"NaN", "nan", "'nan'"},
  };
  std::vector<BadInputCase> cases;
  for (const Id& id : ids) {
    cases.push_back(
        {what + " id " + id.name,
         t.stem + ".csv",
         t.with(1, column, id.field),
         {(what == "user" ? std::string("a user") : what + " " + id.shown) + " (line 3)",
          "1 id has no embedding", "--unknown-ids drop"}});
  }
  cases.push_back({what + " id is empty",
                   t.stem + ".csv",
                   t.with(1, column, ""),
                   {":3", what + " id is empty", "remove the row"}});
  cases.push_back({what + " id is empty quotes",
                   t.stem + ".csv",
                   t.with(0, column, "\"\""),
                   {":2", what + " id is empty", "remove the row"}});
  return cases;
}

std::vector<BadInputCase> time_cases(const SmallTable& t, const std::string& column) {
  struct Time {
    const char* text;
    std::vector<std::string> needles;
  };
  const std::vector<std::string> no_time = {"neither an integer", "ISO 8601"};
  const std::vector<std::string> early = {"is before 1970", "Shift the times"};
  const std::vector<std::string> late = {"after the year 9999", "divide by 1000"};
  const Time times[] = {
      {"yesterday", no_time},
      {"nan", no_time},
      {"1e9", no_time},
      {"0x10", no_time},
      {"+5", no_time},
      {"5.", no_time},
      {"2023-02-29", no_time},
      {"2024-13-01", no_time},
      {"2024-00-10", no_time},
      {"2024-1-5", no_time},
      {"05/01/2024", no_time},
      {"2024-05-01T24:00:00Z", no_time},
      {"2024-05-01T12:60Z", no_time},
      {"2024-05-01T12:30:60Z", no_time},
      {"2024-05-01T12:30:00.Z", no_time},
      {"2024-05-01T12:30:00+25:00", no_time},
      {"2024-05-01T12:30:00 CET", no_time},
      {"2024-05-01T", no_time},
      {"-1", early},
      {"-9223372036854775808", early},
      {"-9223372036854775809", early},
      {"1969-12-31T23:59:59Z", early},
      {"1970-01-01T00:30:00+01:00", early},
      {"253402300800", late},
      {"1714521600000", late},
      {"9223372036854775808", late},
      {"123456789012345678901234567890", late},
      {"9999-12-31T23:59:59-01:00", late},
  };
  std::vector<BadInputCase> cases;
  for (const Time& time : times) {
    std::vector<std::string> needles = time.needles;
    needles.push_back(":3");
    needles.push_back(std::string("time '") + time.text + "'");
    cases.push_back(
        {column + " " + time.text, t.stem + ".csv", t.with(1, column, time.text), needles});
  }
  return cases;
}

std::vector<BadInputCase> number_cases(const SmallTable& t, const std::string& column) {
  std::vector<BadInputCase> cases;
  for (const char* text :
       {"good", "nan", "NaN", "-nan", "nan(1)", "inf", "-Infinity", "1e39", "-3.5e38", "1e400",
        "0x10", "+1", "1,5", "4 stars", "1e", ".", "--1", "1_000",
        "\xE2\x88\x92"
        "1"}) {
    const std::string field = std::string(text) == "1,5" ? "\"1,5\"" : text;
    cases.push_back({column + " " + text,
                     t.stem + ".csv",
                     t.with(1, column, field),
                     {":3", std::string("value '") + text + "'",
                      "finite number in [-3.4e38, 3.4e38]", "decimal point"}});
  }
  return cases;
}

std::vector<BadInputCase> column_cases(const SmallTable& t, const std::string& column,
                                       const std::string& remedy) {
  std::string capital = column;
  capital[0] = static_cast<char>(capital[0] - 'a' + 'A');
  std::vector<BadInputCase> cases;
  for (const std::string& name : {std::string("x"), " " + column, column + "_id", capital}) {
    SmallTable renamed = t;
    *std::find(renamed.columns.begin(), renamed.columns.end(), column) = name;
    cases.push_back({"column " + column + " is called '" + name + "'",
                     t.stem + ".csv",
                     renamed.text(),
                     {":1", "no column '" + column + "'", "'" + name + "'", remedy}});
  }
  SmallTable renamed = t;
  *std::find(renamed.columns.begin(), renamed.columns.end(), column) = "other";
  cases.push_back({"header only, without " + column,
                   t.stem + ".csv",
                   renamed.header(),
                   {":1", "no column '" + column + "'", remedy}});
  return cases;
}

BadInputCase mapped_case(const SmallTable& t, const std::string& key, const std::string& flag) {
  return {key + " is mapped to a column that is not there",
          t.stem + ".csv",
          t.text(),
          {":1", "no column 'elsewhere'", "'" + t.columns[0] + "'", flag + " " + key + "=COLUMN"},
          3,
          {{flag, key + "=elsewhere"}}};
}

std::string mapped(const Flags& flags, const std::string& flag, const std::string& key) {
  const auto found = flags.find(flag);
  return found != flags.end() && found->second == key + "=elsewhere" ? "elsewhere" : key;
}

}  // namespace quarry::testing
