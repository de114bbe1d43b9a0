// Limits of memory, read from control groups that are laid out in a folder as systems lay them out.
#include "tools/quarry/control_group.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/files.h"

namespace quarry {
namespace {

class ControlGroups {
 public:
  void say(const std::string& file, const std::string& text) {
    const std::filesystem::path path = std::filesystem::path(folder_.path()) / "root" / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  std::uint64_t limit(const std::string& groups) {
    const std::string file = folder_.path() + "/cgroup";
    std::ofstream(file) << groups;
    return control_group_limit(file, folder_.path() + "/root");
  }

 private:
  testing::TempDir folder_;
};

TEST(ControlGroups, SecondVersion) {
  ControlGroups groups;
  EXPECT_EQ(groups.limit("0::/\n"), 0u);
  groups.say("a/b/memory.max", "max");
  EXPECT_EQ(groups.limit("0::/a/b\n"), 0u);
  groups.say("a/memory.max", "3221225472");  // of the group above
  EXPECT_EQ(groups.limit("0::/a/b\n"), 3221225472u);
  groups.say("a/b/memory.max", "1073741824");
  EXPECT_EQ(groups.limit("0::/a/b\n"), 1073741824u);
  EXPECT_EQ(groups.limit("0::/a\n"), 3221225472u);
  EXPECT_EQ(groups.limit("0::/elsewhere\n"), 0u);
  groups.say("memory.max", "2147483648");  // of a container, whose path is not to be seen in it
  EXPECT_EQ(groups.limit("0::/elsewhere\n"), 2147483648u);
  EXPECT_EQ(groups.limit("0::/../../pod/c\n"), 2147483648u);
}

TEST(ControlGroups, FirstVersion) {
  ControlGroups groups;
  groups.say("memory/memory.limit_in_bytes", "9223372036854771712");
  groups.say("memory/job/memory.limit_in_bytes", "536870912");
  groups.say("memory/job/step/memory.limit_in_bytes", "9223372036854771712");
  groups.say("cpu/job/memory.limit_in_bytes", "1");  // of no controller of memory
  const std::string others = "3:cpu,cpuacct:/job\n2:name=systemd:/job\n";
  EXPECT_EQ(groups.limit(others + "4:memory:/job/step\n0::/\n"), 536870912u);
  EXPECT_EQ(groups.limit(others + "4:hugetlb,memory:/job\n"), 536870912u);
  EXPECT_EQ(groups.limit(others + "4:memory:/\n"), 0u);
  EXPECT_EQ(groups.limit(others), 0u);
}

TEST(ControlGroups, WhatIsNoGroupSaysNothing) {
  ControlGroups groups;
  groups.say("memory.max", "0");
  for (const char* text : {"", "\n", ":", "0:", "::::", "0::/\n\n"})
    EXPECT_EQ(groups.limit(text), 0u);
  EXPECT_EQ(control_group_limit("/nowhere/at/all", "/nowhere"), 0u);
}

}  // namespace
}  // namespace quarry
