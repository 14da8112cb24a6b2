"use strict";
// Which passage of a context stands nearest to a sentence: the one whose words cover most of the sentence's words,
// where a word counts the more the fewer passages have it.
const Passages = (() => {
  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || [];

  // Cut a text after full stops and at line breaks; the cuts keep every character.
  const cut = (text) => text.match(/[^\n.!?。！？]*(?:[.!?](?!\s|$)[^\n.!?。！？]*)*[.!?。！？]*["')\]”’»]*\s*/gu).filter(Boolean);

  const index = (context) => {
    const passages = [];
    context.forEach((text, part) => cut(text).forEach((piece) => passages.push({ part, text: piece, words: new Set(words(piece)) })));
    const spread = new Map();
    passages.forEach((passage) => passage.words.forEach((word) => spread.set(word, (spread.get(word) || 0) + 1)));
    const weight = (word) => Math.log(1 + (passages.length + 1) / ((spread.get(word) || 0) + 1));
    return { passages, weight };
  };

  const best = ({ passages, weight }, sentence) => {
    const wanted = [...new Set(words(sentence))];
    const whole = wanted.reduce((sum, word) => sum + weight(word), 0) || 1;
    let found = { place: -1, share: 0, shared: new Set() };
    passages.forEach((passage, place) => {
      const shared = wanted.filter((word) => passage.words.has(word));
      const share = shared.reduce((sum, word) => sum + weight(word), 0) / whole;
      if (share > found.share + 1e-9) found = { place, share, shared: new Set(shared) };
    });
    return found;
  };

  return { index, best };
})();
