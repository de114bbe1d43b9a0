// The named recipes: published methods and the balanced set, as TOML that the miner runs.
#include "host/recipe/recipe.h"

namespace quarry {
namespace {

/// Event rules that most logs fit; kinds that a log does not have simply never occur.
constexpr const char* kEvents = R"toml(
[exposure]                  # first match wins; what no rule names is ambiguous
positive    = ["purchase", "like", "rating>=4", "click & dwell>=30"]
aversion    = ["dislike", "hide", "avoid", "rating<=2"]
disinterest = ["skip", "scroll_past", "view & dwell<3", "rating=3"]

[safety]                    # every branch, and backfill
filters = [{ kind = "positives" }]
)toml";

/// A published method: what its text says, the rules above, its branches.
NamedRecipe runnable(const char* name, const char* summary, const char* source, const char* head,
                     const char* branches) {
  std::string toml =
      std::string("# ") + summary + "\n# Source: " + source + "\nname = \"" + name + "\"\n";
  return {name, summary, source, toml + head + kEvents + branches, ""};
}

/// A method whose negatives are, in part, those of the other rows of a training batch.
NamedRecipe by_batches(const char* name, const char* summary, const char* source, const char* head,
                       const char* branches) {
  NamedRecipe recipe = runnable(name, summary, source, head, branches);
  recipe.why_not =
      "takes negatives from the rows of a training batch, which a run over a table does not have; "
      "mine by batches: quarry.Miner(items, \"" +
      recipe.name + "\") of Python, Miner::mine_batch";
  return recipe;
}

NamedRecipe not_run(const char* name, const char* summary, const char* source,
                    const char* why_not) {
  return {name, summary, source, "", why_not};
}

void add_random(std::vector<NamedRecipe>& out) {
  out.push_back(runnable("random", "uniform negatives that are no positives of the user",
                         "the baseline of every comparison", "k = 10\n", R"toml(
[[branch]]
name = "random"
source = "uniform"
)toml"));
  out.push_back(runnable("bpr", "one uniform negative per positive", "BPR, Rendle et al., UAI 2009",
                         "k = 1\n",
                         R"toml(
[[branch]]
name = "random"
source = "uniform"
)toml"));
  out.push_back(runnable(
      "pns", "one negative by popularity^0.75",
      "popularity-based negative sampling, exponent of Mikolov et al., NIPS 2013", "k = 1\n",
      R"toml(
[[branch]]
name = "popular"
source = "popularity^0.75"    # correct the loss with logq
)toml"));
  out.push_back(runnable("word2vec", "five negatives by popularity^0.75",
                         "word2vec, Mikolov et al., NIPS 2013", "k = 5\n", R"toml(
[[branch]]
name = "popular"
source = "popularity^0.75"
)toml"));
}

void add_text_retrieval(std::vector<NamedRecipe>& out) {
  const char* nv = "NV-Retriever, Moreira et al., 2024";
  out.push_back(runnable("naive", "the k best items", nv, "k = 4\nmetric = \"cosine\"\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 4 }
)toml"));
  out.push_back(runnable("shifted", "the k best after skipping the first 10", nv,
                         "k = 4\nmetric = \"cosine\"\n",
                         R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 4 }
filters = [{ kind = "rank", window = [11, 14], of = "survivors" }]
)toml"));
  out.push_back(
      runnable("abs", "the k best below a score of 0.7", nv, "k = 4\nmetric = \"cosine\"\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 100 }
filters = [{ kind = "score", hi = 0.7 }]    # does not transfer between encoders: calibrate it
)toml"));
  out.push_back(runnable("nv-perc", "the k best below 95 % of every positive's score", nv,
                         "k = 4\nmetric = \"cosine\"\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 100 }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "each" }]
)toml"));
  out.push_back(runnable("nv-margin", "the k best that stay 0.05 below every positive's score", nv,
                         "k = 4\nmetric = \"cosine\"\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 100 }
filters = [{ kind = "absolute_margin", margin = 0.05, against = "each" }]
)toml"));
  out.push_back(runnable("nv-sample",
                         "4 of the 10 best below 95 % of every positive's score, by softmax", nv,
                         "k = 4\nmetric = \"cosine\"\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 10 }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "each" }]
select = { kind = "sample", weight = { kind = "softmax", tau = 1.0 } }
)toml"));
  out.push_back(runnable("simans", "15 of the best 100, likelier the closer to a positive's score",
                         "SimANS, Zhou et al., EMNLP 2022 (industry)", "k = 15\n", R"toml(
[[branch]]
name = "ambiguous"
source = { kind = "topk", pool = 100 }
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0, centre = "random" } }
)toml"));
  out.push_back(runnable("simans-abs", "SimANS as its code has it for MS MARCO: exp(-3 |s - s+|)",
                         "microsoft/SimXNS", "k = 15\n", R"toml(
[[branch]]
name = "ambiguous"
source = { kind = "topk", pool = 100 }
select = { kind = "sample", weight = { kind = "distance", tau = 3.0, centre = "random" } }
)toml"));
  out.push_back(runnable("ance", "20 of the best 200 of the current checkpoint, evenly",
                         "ANCE, Xiong et al., ICLR 2021", "k = 20\n", R"toml(
[[branch]]
name = "hard"
source = { kind = "topk", pool = 200 }
select = "sample"             # refresh every 5,000 to 10,000 batches, with a new model tag
)toml"));
  out.push_back(
      by_batches("star", "static top-200 of a warm-up model, 1:1 with in-batch negatives",
                 "STAR, Zhan et al., SIGIR 2021",
                 "k = 40\nbackfill = []                 # a small batch makes short rows\n",
                 R"toml(
[[branch]]                    # of the warm-up model: leave its vectors as they are
name = "hard"
share = 0.5
source = { kind = "topk", pool = 200 }
select = "sample"

[[branch]]                    # positives of the batch's other rows
name = "in-batch"
share = 0.5
source = "batch"
select = "sample"
)toml"));
  out.push_back(runnable("adore", "the best 200 for the current query vectors, items frozen",
                         "ADORE, Zhan et al., SIGIR 2021", "k = 200\n", R"toml(
[[branch]]                    # per batch through the library, with the batch's own query vectors
name = "hard"
source = { kind = "topk", pool = 200 }
)toml"));
  out.push_back(runnable(
      "rocketqa", "4 of the best 50 that a cross-encoder finds irrelevant (score at most 0.1)",
      "RocketQA, Qu et al., NAACL 2021", "k = 4\n", R"toml(
[[branch]]
name = "denoised"
source = { kind = "topk", max_rank = 50 }
filters = [{ kind = "column", table = "teacher", max = 0.1, missing = "reject" }]
select = "sample"
)toml"));
  out.push_back(runnable("gist", "4 of the best 50 that a guide model puts below the positive",
                         "GISTEmbed, Solatorio, 2024 (there within a batch)", "k = 4\n", R"toml(
[[branch]]
name = "guided"
source = { kind = "topk", max_rank = 50 }
filters = [{ kind = "column", table = "teacher", relative = 1.0, missing = "reject" }]
select = "sample"
)toml"));
  out.push_back(not_run(
      "tas-b", "batches of one query cluster, pairs balanced over teacher margins",
      "TAS-Balanced, Hofstaetter et al., SIGIR 2021",
      "it composes batches by query cluster, which belongs to the training loop; their in-batch "
      "negatives are the source `batch`, as in `star`"));
}

void add_industry(std::vector<NamedRecipe>& out) {
  out.push_back(runnable("ebr", "100 easy negatives for one from ranks 101 to 500",
                         "Embedding-based retrieval in Facebook search, Huang et al., KDD 2020",
                         "k = 101\n", R"toml(
[[branch]]
name = "hard"
count = 1
source = { kind = "topk", max_rank = 500 }
filters = [{ kind = "rank", window = [101, 500], of = "raw" }]
select = "sample"

[[branch]]
name = "easy"
count = 100
source = "uniform"
)toml"));
  out.push_back(runnable(
      "pinsage", "500 easy negatives and, from the second epoch, one more hard one per epoch",
      "PinSage, Ying et al., KDD 2018",
      "k = { schedule = [[0, 500], [6, 506]] }    # linear in the round (epoch)\n", R"toml(
[[branch]]
name = "easy"
count = 500                   # the paper shares them within a batch
source = "uniform"

[[branch]]
name = "hard"
count = { schedule = [[0, 0], [6, 6]] }
source = { kind = "run", table = "ppr" }    # personalised PageRank of the query item, a table of your own
filters = [{ kind = "rank", window = [2000, 5000], of = "raw" }]
select = "sample"
)toml"));
  out.push_back(by_batches(
      "mns", "in-batch negatives and 8,192 uniform ones, corrected for the mixture",
      "Mixed negative sampling, Yang et al., WWW 2020",
      "k = 9216\nbackfill = []                 # a small batch makes short rows\n", R"toml(
# Correct the loss with Miner.mixed_logq: logq knows this batch alone.
[[branch]]                    # positives of the batch's other rows, all of them up to 1,024
name = "in-batch"
count = 1024
source = "batch"
select = "sample"

[[branch]]
name = "uniform"
count = 8192                  # the paper shares them within a batch
source = "uniform"
)toml"));
}

void add_collaborative_filtering(std::vector<NamedRecipe>& out) {
  out.push_back(runnable("dns", "the best of 8 uniform draws", "DNS, Zhang et al., SIGIR 2013",
                         "k = 1\n", R"toml(
[[branch]]
name = "dns"
source = { kind = "pool", n = 8 }    # 4 to 32; harder with more
)toml"));
  out.push_back(runnable("dns-mn", "one of the best 10 of 200 uniform draws",
                         "DNS(M,N), Shi et al., WWW 2023", "k = 1\n", R"toml(
[[branch]]
name = "dns"
source = { kind = "pool", n = 200 }
filters = [{ kind = "rank", window = [1, 10], of = "survivors" }]    # M = 1 to 20
select = "sample"
)toml"));
  out.push_back(runnable("dns-rank",
                         "DNS without draws: by the density of an order statistic of uniform draws",
                         "rank form of DNS, Zhang et al., SIGIR 2013", "k = 1\n", R"toml(
[[branch]]
name = "dns"
source = "all"                # ranks need the full ranking: for small catalogues
# Beta(j, N - j + 1) in the rank quantile, N = items of the snapshot: the mean rank is about j.
# The best of n draws has a mean rank of N / (n + 1), so choose j = N / (n + 1).
select = { kind = "sample", weight = { kind = "rank_beta", j = 100 } }
)toml"));
  out.push_back(runnable(
      "softmax-v", "one of 200 uniform draws by softmax",
      "Softmax-v(rho, N), Shi et al., WWW 2023, with one temperature for all rows", "k = 1\n",
      R"toml(
[[branch]]
name = "softmax"
source = { kind = "pool", n = 200 }
# The paper sets tau per row to sqrt(Var(loss) / (2 rho)); the miner does not see the loss.
select = { kind = "sample", weight = { kind = "softmax", tau = 1.0 } }
)toml"));
  out.push_back(runnable("aobpr", "one item by exp(-rank / lambda)",
                         "AOBPR, Rendle and Freudenthaler, WSDM 2014", "k = 1\n", R"toml(
[[branch]]
name = "adaptive"
source = "all"
select = { kind = "sample", weight = { kind = "rank_geometric", lambda = 250 } }    # 5 to 30 % of the items
)toml"));
  out.push_back(runnable("warp", "the first of up to 100 draws that violates the margin",
                         "WARP, Weston et al., IJCAI 2011", "k = 1\n", R"toml(
[[branch]]
name = "violator"
source = { kind = "pool", n = 100 }
select = { kind = "first_violator", margin = 1.0 }    # raw_rank tells the number of trials
)toml"));
  out.push_back(not_run(
      "srns", "per-user memory, by score plus the spread of past scores",
      "SRNS, Ding et al., NeurIPS 2020",
      "it keeps a memory per user and the scores of the last 5 epochs, which only the training "
      "loop has"));
  out.push_back(not_run(
      "mixgcf", "negatives mixed with the positive at every hop", "MixGCF, Huang et al., KDD 2021",
      "its negatives are vectors made inside the training loop, not items; `dns` gives the pool"));
  out.push_back(
      not_run("dens", "best of a few draws by scores with gated item vectors",
              "DENS, Lai et al., WSDM 2023",
              "its gates are trained with gradients; export the gated scores as a table and use a "
              "source { kind = \"run\" } on it"));
  out.push_back(runnable("ahns", "of 32 uniform draws the one nearest to b (s+ + a)^(p+1)",
                         "AHNS, Lai et al., AAAI 2024", "k = 1\n", R"toml(
[[branch]]
name = "adaptive"
source = { kind = "pool", n = 32 }
# A large tau makes the sample a minimum. MovieLens-1M: a = 0.1, b = 0.4, n = 16.
select = { kind = "sample", weight = { kind = "distance", tau = 1e6, centre = { kind = "ahns", a = 1.0, b = 0.1, p = -2 } } }
)toml"));
  out.push_back(
      not_run("bns", "least Bayesian risk of a few draws", "BNS, Liu and Wang, 2023",
              "it needs the distribution function of a user's scores over the whole catalogue"));
  out.push_back(runnable(
      "realhns", "from the top tenth, without items like the positive; hard ones come in slowly",
      "RealHNS, Ma et al., RecSys 2023", "k = 8\n", R"toml(
[[branch]]                    # from round 5 one, then one more every 2 rounds
name = "hard"
count = { kind = "step", schedule = [[0, 0], [5, 1], [7, 2], [9, 3], [11, 4], [13, 5], [15, 6], [17, 7], [19, 8]] }
source = "all"
filters = [
  { kind = "rank", quantile = [0.0, 0.1], of = "raw" },
  { kind = "similarity", max = 0.8 },    # the paper drops the tenth nearest to the positive: calibrate it
]
select = "sample"

[[branch]]
name = "random"
count = { kind = "step", schedule = [[0, 8], [5, 7], [7, 6], [9, 5], [11, 4], [13, 3], [15, 2], [17, 1], [19, 0]] }
source = "uniform"
)toml"));
  out.push_back(runnable("exposure", "10 % exposed and not liked, 20 % hard, 70 % random",
                         "after RNS, Ding et al., IJCAI 2019, without its learned sampler",
                         "k = 10\n", R"toml(
[[branch]]
name = "exposed"
share = 0.1                   # exposed items only lose half of the quality: keep it small
source = { kind = "exposed", classes = ["aversion", "disinterest"] }

[[branch]]
name = "hard"
share = 0.2
source = { kind = "topk", pool = 100 }
select = "sample"

[[branch]]
name = "random"
share = 0.7
source = "uniform"
)toml"));
  out.push_back(runnable("ultragcn", "300 uniform negatives with replacement",
                         "UltraGCN, Mao et al., CIKM 2021", "k = 300\n", R"toml(
[[branch]]
name = "random"
source = "uniform"
select = "sample_replacement"    # 300 to 1,500, weight them by 200 to 300
)toml"));
  out.push_back(runnable("ssm", "256 uniform negatives with replacement for a sampled softmax",
                         "sampled softmax, 64 to 3,000 negatives; correct with logq", "k = 256\n",
                         R"toml(
[[branch]]
name = "random"
source = "uniform"
select = "sample_replacement"
)toml"));
}

void add_balanced(std::vector<NamedRecipe>& out) {
  const char* summary =
      "half hard, a tenth exposed, the rest random; 40 % head, 35 % torso, 25 % tail";
  const char* source = "Quarry; docs/recipe.md has it with groups, categories and sellers";
  out.push_back(
      {"balanced", summary, source,
       R"toml(# A balanced set: half hard, a tenth exposed, the rest random; 40 % head, 35 % torso, 25 % tail.
name = "balanced"
k = 8                       # negatives per row
metric = "cosine"           # ip | cosine | l2

[exposure]                  # first match wins; what no rule names is ambiguous
positive    = ["purchase", "like", "rating>=4", "click & dwell>=30"]
aversion    = ["dislike", "hide", "avoid", "rating<=2"]
disinterest = ["skip", "scroll_past", "view & dwell<3", "rating=3"]
window = "180d"             # older events no longer count as exposure

[safety]                    # every branch, and backfill
filters = [
  { kind = "positives" },                            # of this user, merged over rows
  { kind = "exposed", classes = ["ambiguous"] },
  { kind = "near_duplicate", cosine = 0.98 },
  { kind = "time" },                                 # first seen after t, retired
]

[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }   # quantiles of the count of positives up to as-of

[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 200, max_rank = 5000 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"] },   # they have a branch of their own
  { kind = "relative_margin", ratio = 0.95, against = "min" },
  { kind = "rank", window = [1, 400], of = "survivors" },
]
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0 } }

[[branch]]
name = "exposed"
share = 0.1
source = { kind = "exposed", classes = ["aversion", "disinterest"], max_age = "90d" }

[[branch]]
name = "random"
share = 0.4
source = { kind = "uniform" }

[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
backfill = ["random", "hard"]
)toml",
       ""});
}

}  // namespace

const std::vector<NamedRecipe>& named_recipes() {
  static const std::vector<NamedRecipe> recipes = [] {
    std::vector<NamedRecipe> out;
    add_balanced(out);
    add_random(out);
    add_text_retrieval(out);
    add_industry(out);
    add_collaborative_filtering(out);
    return out;
  }();
  return recipes;
}

}  // namespace quarry
