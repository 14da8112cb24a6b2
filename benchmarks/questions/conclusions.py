"""What a user can take from the answer to each question: written after reading its table, 26 November 2026."""

CONCLUSIONS = {
    "forms of MIN": (
        "Take the product, which is the default where a response is as good as its worst sentence: it is ahead of "
        "every other form on the mean of five sets (.773, the next .751, the spread of seeds .006), and nowhere "
        "behind by more than .001. The mean is far behind (.653). The paper's head on raw vectors stays near chance "
        "but on `prmbench`, whatever the form: what carries are columns that compare a sentence with its context and "
        "query."
    ),
    "forms of MAX": (
        "Take noisy-or, the default where one good sentence is enough: ahead by .028 on the mean of four sets. "
        "Softmax pooling is .006 ahead on `multispanqa_windows`, and on reviews (`absa16_reviews`) the mean is .023 "
        "ahead. With the paper's head no form makes up for what its columns lack."
    ),
    "first model": (
        "Leave self-training off, as the default does: fresh heads that learn even an undisturbed first model's "
        "labels are .005 behind it on the mean, hard labels .008, and what is taught worse is learned worse, down to "
        ".045 behind under the strongest noise. Hard labels gained .006 and .007 on `processbench` and "
        "`realsumm_scu`, less than a seed changes, and lost .013 and .030 on the other two."
    ),
    "curriculum": (
        "It changes little: +.003 with either head on the mean of three sets, less than a seed changes. If you "
        "believe in a prior, letting its weight move to the labels costs nothing; if not, leave priors out."
    ),
    "priors": (
        "Leave priors out, as the default does. With our columns none gains on the mean of five sets: the cosine "
        "costs .007 (.017 on `wikiqa`), word overlap .005, correlation .002; a column of noise costs .008 and the "
        "opposite of the cosine .014, so a good prior is hardly told from a bad one. `auto`, which asks held-out "
        "labels, costs .001. With the paper's head both together gain .006, less than its seeds lie apart. No "
        "entailment model was at hand."
    ),
    "transfer": (
        "Learn from labels of your own task. What was learned on another set of the same kind keeps a part "
        "(`wice_windows` .727 by `wikiqa`, .867 by its own labels), on another kind nothing or the opposite (.30 to "
        ".57). `faithbench` alone is scored better by others (.701 and .673) than by what its own 565 ratings teach "
        "(.651)."
    ),
    "responses": (
        "Rate about 300 responses, then look. Fifty give .709 on the mean of six sets, 100 .727, 300 .771, 1,000 .789 "
        "and all .800: up to 300 a doubling gains .02 or more, beyond about .01. `uss_satisfaction` is near chance "
        "below 300; `wice_windows` has .855 with 50, as similarity alone tells much there."
    ),
    "label noise": (
        "One wrong label in ten costs .018, one in five .055, three in ten .109. Reviews (`absa16_reviews`) lose "
        "most, .168 at one in five, `multispanqa_windows` .045, the others .011 to .034. Less than .03 on the mean "
        "was wanted at one in five, and is not reached (what was tried: docs/architecture.md). Look for wrong labels "
        "with `fractal inspect --scorer`, and rate those again."
    ),
    "recipes": (
        "Keep the blend: on the mean of eleven sets it is .025 ahead of the best single recipe, and behind the best "
        "one of a set by .017 at most. Every single recipe fails somewhere: scalars alone on reviews (.61 for .80), "
        "whole vectors on steps and on what must be compared (.57 for .997)."
    ),
    "auto": (
        "Say the rule if you know it; if not, `auto` mostly finds it: on six of ten sets it is the best answer by "
        "hand, on the mean of all ten it has .787, where always the product has .728 and always the mean .712. It "
        "loses .035 on the films and .023 on `prm800k_subset`, where the direction stays open and says so, .004 on "
        "`wikiqa`, and .011 on reviews, where the mean orders sentences better than the stated maximum."
    ),
    "gold": (
        "Label a few sentences where you can: those of 2% of the responses add .002 on the mean of five sets, of "
        "10% .011 (most on reviews and `qa_feedback_bags`, nothing on `faithbench`), of all .037. Labels of "
        "responses stay worth something beside them: all of both have .781, sentence labels alone .774. With MiniLM "
        "and 1,200 responses 2% and 10% reach 98.2% and 98.6% of full supervision "
        "([there](questions_minilm.md#gold)), here 96.3% and 97.5%."
    ),
}
