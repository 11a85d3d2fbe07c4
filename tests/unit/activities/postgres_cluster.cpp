// Starts and stops a PostgreSQL server; as root it does so as another user, which the server wants.
#include "tests/unit/activities/postgres_cluster.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

namespace fs = std::filesystem;

namespace kflow::activities {
namespace {

constexpr auto start_timeout = std::chrono::seconds(60);

// The newest that is installed, as Debian lays it out, or the one on the PATH.
fs::path folder_of_programs() {
  fs::path best;
  int best_version = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    const int version = std::atoi(entry.path().filename().c_str());
    if (version <= best_version || !fs::exists(entry.path() / "bin/initdb")) continue;
    best_version = version;
    best = entry.path() / "bin";
  }
  for (const char* other : {"/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"}) {
    if (best.empty() && fs::exists(fs::path(other) / "initdb")) best = other;
  }
  return best;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  int port = 0;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0)
    port = ntohs(a.sin_port);
  ::close(fd);
  return port;
}

/// The user a server runs as: this one, unless it is root.
struct User {
  bool change = false;
  uid_t uid = 0;
  gid_t gid = 0;
};

bool server_user(User& out) {
  if (::getuid() != 0) return true;
  const passwd* found = ::getpwnam("postgres");
  if (found == nullptr) found = ::getpwnam("nobody");
  if (found == nullptr) return false;
  out = {true, found->pw_uid, found->pw_gid};
  return true;
}

pid_t spawn(const User& user, const std::vector<std::string>& words, const fs::path& log) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  ::dup2(out, 1);
  ::dup2(out, 2);
  if (user.change &&
      (::setgroups(0, nullptr) != 0 || ::setgid(user.gid) != 0 || ::setuid(user.uid) != 0))
    ::_exit(126);
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // it ends with this test, however that ends
  if (::getppid() != parent || ::chdir("/") != 0) ::_exit(126);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

std::unique_ptr<PostgresCluster> PostgresCluster::start(std::string& why) {
  const fs::path programs = folder_of_programs();
  User user;
  if (programs.empty() || !server_user(user)) {
    why = "no PostgreSQL server is installed (package postgresql)";
    return nullptr;
  }
  std::unique_ptr<PostgresCluster> out(new PostgresCluster());
  out->folder_ = fs::temp_directory_path() / ("kflow-postgres-" + std::to_string(::getpid()));
  fs::remove_all(out->folder_);
  fs::create_directories(out->folder_);
  std::ofstream(out->folder_ / "password") << password << "\n";
  if (user.change && (::chown(out->folder_.c_str(), user.uid, user.gid) != 0)) {
    why = "no PostgreSQL server can be started by this user";
    return nullptr;
  }
  const std::string data = (out->folder_ / "data").string();
  const fs::path log = out->folder_ / "log";
  int status = 0;
  ::waitpid(spawn(user,
                  {(programs / "initdb").string(), "-D", data, "-U", "postgres",
                   "--auth=scram-sha-256", "--pwfile=" + (out->folder_ / "password").string(),
                   "--no-sync", "--encoding=UTF8", "--locale=C"},
                  log),
            &status, 0);
  const auto log_text = [&] {
    std::ifstream in(log);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  if (status != 0) {
    why = "no PostgreSQL server can be set up: " + log_text();
    return nullptr;
  }
  out->port = free_port();
  out->server_ =
      spawn(user,
            {(programs / "postgres").string(), "-D", data, "-k", out->folder_.string(), "-p",
             std::to_string(out->port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c",
             "full_page_writes=off", "-c", "max_connections=30", "-c", "shared_buffers=16MB"},
            log);
  const auto deadline = std::chrono::steady_clock::now() + start_timeout;
  while (log_text().find("database system is ready to accept connections") == std::string::npos) {
    if (std::chrono::steady_clock::now() > deadline ||
        ::waitpid(out->server_, &status, WNOHANG) == out->server_) {
      out->server_ = -1;
      why = "no PostgreSQL server comes up: " + log_text();
      return nullptr;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return out;
}

PostgresCluster::~PostgresCluster() {
  if (server_ > 0) {
    ::kill(server_, SIGQUIT);  // at once: nothing of it is kept
    int status = 0;
    ::waitpid(server_, &status, 0);
  }
  std::error_code error;
  fs::remove_all(folder_, error);
}

std::string PostgresCluster::url(const std::string& tail) const {
  return "postgres://postgres:s3cret%20of-the-test@127.0.0.1:" + std::to_string(port) +
         "/postgres" + tail;
}

std::string PostgresCluster::url_without_password() const {
  return "postgres://postgres@127.0.0.1:" + std::to_string(port) + "/postgres";
}

}  // namespace kflow::activities
